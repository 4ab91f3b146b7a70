"""Tables of runs as people and attackers write them, made up from a seed, and what a verb may do with one.

    python tests/harness/safety.py --out /tmp/safety --folders 0 --blows 0 --tables 500

The verbs are called in this process, on tables as files: an answer, a status or one sentence; no traceback, no warning,
nothing of the file that a terminal, a page or a drawing library would obey.
"""

import contextlib
import functools
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from isoflop.analysis.claims import claim
from isoflop.analysis.fitting import groups, optimum
from isoflop.analysis.report.figures.base import Figure
from isoflop.analysis.verbs import main
from isoflop.wording import UNPRINTABLE

# a failing table is small already; to make it smaller takes minutes
FUZZ: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    "phases": [Phase.explicit, Phase.generate],
    "database": None,
}
# starts of a search: whether tables break it does not hang on how many there are
FEW_STARTS = 6
SCALE = st.sampled_from([1.0, 1e-3, 1e3, 1e6, 1e9])
VALUE = st.one_of(st.floats(1e-6, 1e15), st.sampled_from([1e6, 1e7, 1e8, 2.5, 1.0, 1e-300, 1e300]))
BAD = st.sampled_from([float("nan"), 0.0, -1.0, float("inf"), None, "x", ""])


@contextlib.contextmanager
def few_starts() -> Iterator[None]:
    """Searches from a few starts, which take a tenth of the time, and claims that are read from their yaml once."""
    with (
        mock.patch.object(claim, "read_claim", functools.cache(claim.read_claim)),
        mock.patch.object(optimum, "STARTS", FEW_STARTS),
        mock.patch.object(groups, "ALONE", FEW_STARTS),
        mock.patch.object(groups, "JOINT", FEW_STARTS),
    ):
        yield


@st.composite
def tables(draw: Any) -> pd.DataFrame:
    """Rows of a law, of noise or of nothing, with what people do to tables."""
    count = draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if draw(st.booleans()):
        N, D = rng.choice(np.geomspace(1e6, 1e9, 4), count), rng.choice(np.geomspace(1e7, 1e10, 4), count)
        noise = draw(st.sampled_from([0.0, 1e-9, 1e-3, 0.1, 3.0]))
        L = (draw(st.sampled_from([0.0, 1.6, 1e6])) + 400 * N**-0.3 + 400 * D**-0.3) * np.exp(
            noise * rng.normal(size=count)
        )
        table = pd.DataFrame({"N": N * draw(SCALE), "D": D * draw(SCALE), "L": L * draw(SCALE)})
    else:
        cells = st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=count, max_size=count)
        table = pd.DataFrame(draw(cells), columns=["N", "D", "L"])
    table["C"] = 6 * table["N"] * table["D"]
    if draw(st.booleans()):
        table["run_id"] = rng.integers(0, max(count // 2, 1), count)
    if draw(st.booleans()):
        table["family"] = rng.choice(["a", "b"], count)
    if draw(st.booleans()):
        table["lr"] = rng.choice([1e-3, 3e-3, 1e-2], count)
    if draw(st.integers(0, 9)) == 0:
        column = draw(st.sampled_from(["N", "D", "L"]))
        table[column] = table[column].astype(object)
        table.loc[draw(st.integers(0, count - 1)), column] = draw(BAD)
    if draw(st.integers(0, 9)) == 0:
        table = pd.concat([table, table])
    return table


# what a cell may hold, of any column
CELLS = st.sampled_from(
    [
        "", "0", "-1", "inf", "-inf", "nan", "1e400", "1" + "0" * 400, "many", "True", "1,5", "0x10", "1_000", " 7 ",
        "\x1b[2J\x1b[31m", "a\x00b", "\x07", "x" * 20_000, "<script>alert(1)</script>", "</script>", "\u05d0\u05d1",
        "javascript:alert(1)", "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\u202eabc", "{{ 7*7 }}", "['a', 'b']",
        "a\nb", "\u2028", "%s%n", "${HOME}", "../../etc",
    ]
)  # fmt: skip
VERBS: dict[str, list[str]] = {
    "fit": ["--interval", "jackknife", "--by", "family", "--json"],
    "predict": ["--at", "C=1e20", "--by", "family", "--json"],
    "compare": ["--laws", "power,power_offset(D)", "--json"],
    "frontier": ["--by", "family", "--json"],
    "judge": ["--json"],
    "report": [],
}


@st.composite
def files(draw: Any) -> str:
    """A table of runs as text, some of whose cells or names were overwritten."""
    table = draw(tables())
    if "family" not in table and draw(st.booleans()):
        table["family"] = draw(CELLS)
    table["status"] = draw(st.sampled_from(["ok", "ok", "ok", "failed", "", "diverged"]))
    for name in draw(st.lists(st.sampled_from(["seed", "rung", "reason", "wall_s", "L_bpb", "data"]), max_size=2)):
        table[name] = draw(CELLS)
    table = table.astype(object)
    for _ in range(draw(st.integers(0, 2))):
        row, column = draw(st.integers(0, len(table) - 1)), draw(st.integers(0, table.shape[1] - 1))
        table.iloc[row, column] = draw(CELLS)
    if draw(st.integers(0, 9)) == 0:
        table = table.rename(columns={draw(st.sampled_from(list(table.columns))): draw(CELLS)})
    return str(table.to_csv(index=False))


def check_answer(verb: str, content: str, folder: Path) -> None:
    """The verb ends in an answer or in one sentence, and lets nothing of the file through that could do harm."""
    path = folder / "runs.csv"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    where = ["-o", str(path.parent / "report")] if verb == "report" else []
    out, err = io.StringIO(), io.StringIO()
    # a drawing library that ends the process would end this one: what it is given is looked at instead
    drawing = mock.patch.object(Figure, "save", lambda figure, folder, *_: check_drawing(figure))
    with drawing, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([verb, str(path), *VERBS[verb], *where])
    assert code in (0, 1, 2)
    printed = out.getvalue() + err.getvalue()
    assert not UNPRINTABLE.search(printed)
    if code == 2:
        # one sentence, after one for each group that could not be fitted
        *refused, _ = lines = err.getvalue().splitlines()
        assert all(line.startswith("isoflop: ") for line in lines), lines
        assert all(line.startswith("isoflop: not fitted ") for line in refused), lines
        assert len(err.getvalue()) < 2000
    elif "--json" in VERBS[verb] and out.getvalue():
        json.loads(out.getvalue(), parse_constant=refuse)
    if verb == "report" and code == 0:
        check_page(path.parent / "report" / "index.html")


def check_drawing(figure: Figure) -> None:
    """A specification is JSON without control characters, and no larger than can be drawn."""
    text = json.dumps(figure.spec(), ensure_ascii=False, allow_nan=False)
    assert not UNPRINTABLE.search(text)
    assert len(text) < 3_000_000


def check_page(page: Path) -> None:
    """Nothing that a table holds is markup, and every figure was drawn or says what it lacks."""
    text = page.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert 'href="javascript:' not in text
    at = text.find("could not be drawn")
    assert at < 0, text[max(0, at - 100) : at + 300]


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
