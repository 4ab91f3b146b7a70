"""Which rows are of one run where no column says so: by a column that names runs, by names that end in a step, by
a column of steps, by points logged at equal intervals.

    rows = pd.DataFrame({"run_name": ["a", "a", "b", "b"], "N": [1, 1, 2, 2], "D": [1, 2, 1, 2], "L": [3.0, 2, 3, 2]})
    recognise_runs(rows).count      # 2

What is recognised is said in a note; rows that only look alike (equal knobs at several D: one curve, or separate runs
of a grid) are left to the residuals (analysis/intervals/residuals.py).
"""

import re
from collections.abc import Hashable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isoflop import record
from isoflop.analysis.runs.rows import RunCodes, is_circumstance

# columns that name a run where their values repeat and no size changes within one
_NAMES = re.compile(
    r"(run|exp|experiment|trial|job|curve|trajectory|wandb|hyper|sweep_run)([_. -]?(id|name|uid|number|nr|hash|path))?"
    r"|uid|uuid",
    re.IGNORECASE,
)
# a column that may name anything
_ANY_NAME = re.compile(r"name|id|index|label", re.IGNORECASE)
# the end of the name of a checkpoint: 70M-seed1-step3000
_STEP = re.compile(r"[-_./ ]*(step|steps|ckpt|checkpoint|iter|iteration|it|epoch|ep|tokens?|mark)[-_=]?\d[\w.]*$", re.I)
# columns that say how far along its training a row was measured; `steps` and `tokens` are what a run took in all
_ALONG = re.compile(
    r"((global|train|training|optimi[sz]er)[_ ]?)?step|iter(ation)?"
    r"|(checkpoint|ckpt)([_ ]?(step|iter|id|name|number|nr))?"
    r"|(current|cur|eval|ckpt|checkpoint|elapsed|logged)[_ ]?(steps?|iter(ation)?s?|tokens?|examples?|samples?|epochs?)"
    r"|(steps?|iter(ation)?s?|tokens?|examples?|samples?)[_ ]?(seen|done|so_far|trained|processed|consumed)",
    re.IGNORECASE,
)
# columns that tell evaluations of one model apart
_EVALUATION = re.compile(
    r"(eval(uation)?|val(idation)?|test)[_ ]?(seed|batch|shard|fold|part|repeat|run|id|index|nr)|shard|repeat|fold",
    re.IGNORECASE,
)
# relative scatter of a loss on other batches of one set: other seeds differ by .2 % and more (Choshen et al. 2024)
_EVALUATED = 3e-4
# words of names of sizes, of amounts of data, and of what is measured
_SIZE_WORDS = re.compile(r"param|weight|size$|^n$|_n$", re.IGNORECASE)
_DATA_WORDS = re.compile(r"tok|sample|example|data|image|^d$|_d$", re.IGNORECASE)
_OF_THE_LOSS = re.compile(r"loss|flop|compute|perplexity|ppl|accuracy|nll|entropy", re.IGNORECASE)
# what an amount reaches in some row; a width or a batch may be less
_SMALLEST = 1e4
# knobs of a model and of its training, which are no amounts
_OF_A_KNOB = re.compile(r"d_|dim|width|depth|layer|hidden_|head|len|ctx|batch|seed|step|epoch|vocab|lr", re.IGNORECASE)
# columns that are measured, or grow with the data, whatever their names say besides
_MEASURED = re.compile(
    r"L|L_.*|C|C_.*|D|D_(?!unique$).*|.*(loss|flop|perplexity|ppl|accuracy|acc|bpb|metric|probe|grad_?norm|throughput|mfu|memory).*"
    r"|mark|status|reason|epochs?|steps?|iter(ation)?s?|tokens?|targets_per_s",
    re.IGNORECASE,
)
# points at equal intervals that make a curve: a grid of separate runs is spaced by factors
_LOGGED, _EVEN = 6, 0.02
# columns that a question names
_SHOWN = 5
# different steps that make a curve
_POINTS = 3
# share of the intervals that are equal: the first and the last may not be
_MOST = 0.9
# a column with more values than this share of the rows is measured, and no knob
_KNOB = 0.5
# cells of a table whose every column is looked at, and the knobs of a larger one
_MOST_CELLS, _KNOBS = 1_000_000, ("N", "family", "data", "width", "depth", "lr", "batch", "seed")


def recognise_runs(rows: pd.DataFrame) -> RunCodes:
    """Recognise the runs of a table that has no run_id; otherwise each row counts as its own run."""
    for codes, what in _readings(rows):
        count = int(codes.max()) + 1
        if 1 < count < len(rows):
            note = f"{what} are taken as one run ({count} runs of {len(rows)} rows); --run names another column"
            return RunCodes(codes, count, note)
    return RunCodes(np.arange(len(rows)), len(rows))


def _readings(rows: pd.DataFrame) -> Iterator[tuple[NDArray[np.intp], str]]:
    """Yield each way in which rows may belong to runs, the surest first, with words for it."""
    texts = [c for c in rows if not pd.api.types.is_numeric_dtype(rows[c])]
    for name in rows:
        if _NAMES.fullmatch(str(name)) and _names_runs(rows, rows[name]):
            yield _numbered(rows[name]), f"rows of equal {name}"
    for name in texts:
        stems = rows[name].astype(str).str.replace(_STEP, "", regex=True)
        if (stems != rows[name].astype(str)).mean() > _KNOB and _names_runs(rows, stems):
            yield _numbered(stems), f"rows whose {name} differs in the step alone"
    if (evaluated := _evaluations(rows)) is not None:
        yield evaluated, f"rows equal but for their loss, by less than {_EVALUATED:.2%},"
    codes = equal_knobs(rows)
    if codes is not None and (
        step := next((c for c in rows if _ALONG.fullmatch(str(c)) and _along(rows, c, codes)), "")
    ):
        yield codes, f"rows of equal knobs at several values of {step}"
    if codes is not None and _logged(rows, codes):
        yield codes, "rows of equal knobs at equal intervals of D"


def _evaluations(rows: pd.DataFrame) -> NDArray[np.intp] | None:
    """Return the number of each row's model, if rows are evaluations of equal ones, unlike as no seeds are."""
    if not {"N", "D", "L"} <= set(rows.columns) or "seed" in rows:
        return None
    told = [c for c in rows if _EVALUATION.fullmatch(str(c))]
    knobs = equal_knobs(rows.drop(columns=told))
    losses = pd.to_numeric(rows["L"], errors="coerce")
    if knobs is None or not (losses > 0).all():
        return None
    codes = pd.DataFrame({"knobs": knobs, "D": rows["D"]}).groupby(["knobs", "D"], sort=False).ngroup()
    spread = np.log(losses).groupby(codes.to_numpy()).agg(["count", "std"])
    several = spread[spread["count"] > 1]
    if several["count"].sum() <= _KNOB * len(rows) or float(several["std"].median()) >= _EVALUATED:
        return None
    return codes.to_numpy().astype(np.intp)


def equal_knobs(rows: pd.DataFrame) -> NDArray[np.intp] | None:
    """Return the number of each row's set of equal knobs, along which D may vary; None if none repeats."""
    if rows.empty or "D" not in rows or rows["D"].isna().any():
        return None
    about = [c for c in rows if is_circumstance(c) or _MEASURED.fullmatch(str(c)) or _ALONG.fullmatch(str(c))]
    knobs = [c for c in rows if c not in about]
    if rows.size > _MOST_CELLS:  # a table that takes a second to look through: only what is a knob by its name
        knobs = [c for c in knobs if c in _KNOBS]
    knobs = [c for c in knobs if c == "N" or 1 < _countable(rows[c]).nunique() <= max(_KNOB * len(rows), 2)]
    size = rows["N"] if "N" in rows else pd.Series(0, index=rows.index)
    few = pd.DataFrame({c: _countable(rows[c]) for c in knobs if c == "N" or not _follows(rows[c], rows["D"], size)})
    codes = np.zeros(len(rows), dtype=np.intp)
    if len(few.columns):
        codes = few.groupby(list(few.columns), dropna=False, sort=False).ngroup().to_numpy().astype(np.intp)
    return None if int(codes.max()) + 1 == len(rows) else codes


def is_setting(rows: pd.DataFrame, column: Hashable) -> bool:
    """Return whether a foreign column says what was made, as no name, measure or circumstance does, in few values."""
    about = any(names.fullmatch(str(column)) for names in (_NAMES, _MEASURED, _ANY_NAME))
    if rows.size > _MOST_CELLS or column in record.COLUMNS or about or is_circumstance(column):
        return False
    return 1 < int(_countable(rows[column]).nunique()) <= max(_KNOB * len(rows), 2)


def unnamed(rows: pd.DataFrame) -> list[str]:
    """Return a question for a size or an amount of data that no column is taken for, with the likely columns."""
    questions = []
    for name, what in (("N", "the size"), ("D", "the amount of data")):
        if name not in rows and (shown := candidates(rows, name)[:_SHOWN]):
            choice = f"if it is {' or '.join(shown)}, say so, as in --columns {name}={shown[0]}"
            questions.append(f"no column is taken for {name}, {what}: {choice}")
    return questions


def candidates(rows: pd.DataFrame, ours: str) -> list[str]:
    """Return the columns that could be N or D by their values, likely names first; none of another meaning."""
    words = {"N": _SIZE_WORDS, "D": _DATA_WORDS}
    other = words["D" if ours == "N" else "N"]
    numbers = {c: rows[c] for c in rows if pd.api.types.is_numeric_dtype(rows[c]) and c not in record.COLUMNS}
    known = [rows[c].rank(method="dense") for c in ("N", "D", "C", "L") if c in rows]
    able = [
        c
        for c, x in numbers.items()
        if x.nunique() > 1 and (x.dropna() > 0).all() and not any(x.rank(method="dense").equals(k) for k in known)
        and (x.max() >= _SMALLEST or words[ours].search(str(c)))
        and not (is_circumstance(c) or any(w.search(str(c)) for w in (_OF_THE_LOSS, _OF_A_KNOB, other)))
    ]  # fmt: skip
    return sorted(map(str, able), key=lambda c: (not words[ours].search(c), -float(numbers[c].max())))


def _names_runs(rows: pd.DataFrame, names: pd.Series) -> bool:
    """Return whether equal names can be one run: they repeat, their size is one, and no D comes twice within a name."""
    if names.isna().any() or not 1 < names.nunique() < len(rows):
        return False
    grouped = rows.groupby(names.astype(str).to_numpy())
    if "N" in rows and grouped["N"].nunique().max() > 1:
        return False
    return "D" not in rows or not pd.DataFrame({"n": names.astype(str), "D": rows["D"]}).duplicated().any()


def _numbered(values: pd.Series) -> NDArray[np.intp]:
    return pd.factorize(values.astype(str))[0].astype(np.intp)


def _countable(column: pd.Series) -> pd.Series:
    """Return the column with lists and the like as text, so that equal values can be counted."""
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(str)


def _follows(column: pd.Series, D: pd.Series, size: pd.Series) -> bool:
    """Return whether a column grows, or falls, with D at every size, as a count of steps does."""
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.isna().any() or numbers.nunique() < 3:
        return False
    ends = pd.DataFrame({"x": numbers, "D": D, "size": size}).groupby(["size", "D"])["x"].agg(["min", "max"])
    if (ends["min"] != ends["max"]).any():
        return False
    sizes = ends.index.get_level_values("size").to_numpy()
    steps = np.diff(ends["min"].to_numpy())[sizes[1:] == sizes[:-1]]
    return len(steps) > 1 and bool((steps > 0).all() or (steps < 0).all())


def _along(rows: pd.DataFrame, column: Hashable, codes: NDArray[np.intp]) -> bool:
    """Return whether a column of steps grows with D within most sets of equal knobs, and takes several values there."""
    steps = pd.to_numeric(rows[column], errors="coerce")
    if not pd.api.types.is_numeric_dtype(rows[column]):  # step3000
        steps = pd.to_numeric(rows[column].astype(str).str.extract(r"(\d+)\D*$")[0], errors="coerce")
    if steps.isna().any():
        return False
    ranks = pd.DataFrame({"D": rows["D"], "step": steps}).groupby(codes).rank(method="dense")
    several = steps.groupby(codes).transform("nunique") >= _POINTS
    return bool((several & (ranks["D"] == ranks["step"])).mean() > _KNOB)


def _logged(rows: pd.DataFrame, codes: NDArray[np.intp]) -> bool:
    """Return whether most rows stand at equal intervals of D within their equal knobs, as points of a log do."""
    if "N" not in rows or rows["N"].nunique() < 2:  # sizes of data sets that separate runs were trained on
        return False
    even = 0
    for _, D in rows["D"].groupby(codes):
        steps = np.diff(np.sort(D.to_numpy(float)))
        if len(steps) + 1 < _LOGGED:
            continue
        middle = float(np.median(steps))
        even += len(D) * (np.quantile(np.abs(steps - middle), _MOST) < _EVEN * middle)
    return even > _KNOB * len(rows)
