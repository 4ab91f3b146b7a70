"""Golden outputs: what every verb of the analysis printed and wrote when the goldens were recorded, number by number.

python -m tests.golden compare                  # every case, each difference a line; exit code 1 where there are any
python -m tests.golden compare --case demo      # those whose name begins so
python -m tests.golden record --case demo-fit   # after a number has moved for a reason that the commit states
python -m tests.golden record --tree ../base    # from another checkout

A case is a command line. Kept are its exit code, its JSON and the tables that it writes; of a table longer than ROWS
rows, a few sums of each column. Prose (reasons, notes, titles: any text with a space) and stamps (time, commit, hashes)
are left out. Two numbers are equal within RTOL. Public tables are read where ISOFLOP_REFERENCE_DATA names their folder.
"""

import argparse
import contextlib
import csv
import gzip
import io
import json
import math
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / "tests" / "golden"
# an output that moves by more has a reason
RTOL = 1e-9
# of another processor or another numpy, whose rounding moves a search by less than its tolerance
ELSEWHERE = 1e-4
# sums of numbers that cancel, such as residuals, are zero up to rounding
ATOL = 1e-12
# of a longer list, sums are kept
ROWS = 1000
DIGITS = 12

PROSE = {
    "reason", "reasons", "note", "notes", "sentence", "sentences", "claim", "rule", "caveat", "caveats", "title",
    "words", "label", "formula", "text", "warning", "warnings", "why", "missing", "plan", "needs", "outcome",
}  # fmt: skip
STAMPS = {
    "made", "code", "digest", "sha256", "hash", "version", "source", "git", "dirty", "commit", "points_hash", "time",
    "gradient_norm", "_target_",
}  # fmt: skip
# what names a record of a list, in the order of preference
NAMES = ("subject", "id", "law", "between", "kind", "name")
HASH = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16,48})?")


@dataclass(frozen=True)
class Case:
    """A command line whose outputs are kept.

    name      of the file that holds them
    line      the arguments; {data} is the folder of public tables, {out} an empty folder, {points} a table of points
    quick     part of the test suite
    """

    name: str
    line: tuple[str, ...]
    quick: bool = False

    @property
    def public(self) -> bool:
        """Whether it reads a public table."""
        return any("{data}" in argument for argument in self.line)

    @property
    def path(self) -> Path:
        """The file that holds its outputs."""
        return STORE / f"{self.name}.json.gz"


# beginnings of names of cases that the test suite runs
QUICK = (
    "demo-check", "demo-fit-family", "demo-fit-local", "demo-frontier", "demo-predict-place", "demo-predict-points",
    "demo-forecast", "demo-judge-few", "demo-plot-loss", "demo-compare-cnn", "demo-report-few", "scaling-fit-one",
    "scaling-check", "hoffmann-check", "hoffmann-fit", "hoffmann-frontier", "datablations-fit", "addition-fit",
    "gemstone-check", "steplaw-check", "routing-check", "mistake", "options", "config", "catalogue",
)  # fmt: skip

# quick cases with a fit that the data do not identify: where its search ends depends on the processor
OPEN = (
    "demo-fit-family", "demo-fit-local", "demo-compare-cnn", "demo-frontier", "demo-predict", "demo-forecast",
    "mistake-few-runs", "mistake-few-groups",
)  # fmt: skip

TABLES = {
    "demo": ("studies/demo/runs.csv",),
    "scaling": ("studies/scaling/runs.csv",),
    "hoffmann": (
        "{data}/epoch-research__analyzing-chinchilla/svg_extracted_data.csv",
        "--columns", "N=Model Size,C=Training FLOP,L=loss",
    ),
    "datablations": (
        "{data}/huggingface__datablations/parametric_fit_outliers_removed_182.csv",
        "--columns", "N=params,D=tokens,D_unique=unique_tokens,L=loss",
    ),
    "gemstone": (
        "{data}/mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl",
        "--columns", "N=params_active_precise,D=tokens,L=final_loss,run_id=run_name",
    ),
    "steplaw": ("{data}/step-law__steplaw/dense_lr_bs_loss.csv", "--columns", "L=loss,batch=bs"),
    "routing": (
        "{data}/google-deepmind__scaling_laws_for_routing/curves.csv.gz",
        "--columns", "N=dense_parameter_count,D=step,L=loss_validation,run_id=hyper_id,family=router_type",
        "--where", "step >= 200000 and L > 0",
    ),
    "addition": (
        "{data}/ethancaballero__broken_neural_scaling_laws/four_digit_addition.csv",
        "--columns", "D=dataset_size,L=test_cross_entropy",
    ),
    "isoflop": (
        "{data}/formll__resolving-scaling-law-discrepancies/isoflop_points.csv",
        "--columns", "N=params,D=tokens,C=flops,L=loss",
        "--where", "dataset = 'rw' and hparams = 'tuned' and decay = 'const' and val = 'val' and N > 0",
    ),
    "evals": (
        "{data}/mlfoundations__scaling/loss_evals.csv",
        "--columns", "N=params,D=tokens,L=loss,data=dataset",
        "--where", "val_dataset = 'c4_val'",
    ),
}  # fmt: skip


def _analysis() -> Iterator[tuple[str, ...]]:
    """The name of a case, then its verb and options; the table goes between them."""
    for name in TABLES:
        yield f"{name}-check", "check", "--json"
    by, lstm, one = ("--by", "family"), ("--where", "family = 'lstm'"), ("--where", "family = 'transformer'")
    yield "demo-fit-family", "fit", *by, "--json"
    yield "demo-fit-share", "fit", *by, "--share", "E", "--json", "--resamples", "100"
    yield "demo-fit-local", "fit", *by, "--local", "--json", "--interval", "jackknife"
    for interval in ("bootstrap", "none"):
        yield f"demo-fit-{interval}", "fit", *lstm, "--interval", interval, "--resamples", "200", "--json"
    for loss in ("l1", "l2", "raw_huber", "raw_l2"):
        yield f"demo-fit-{loss}", "fit", *by, "--loss", loss, "--json", "--resamples", "100"
    for law in ("kaplan", "power_offset(D)", "multiplicative", "power(C)", "farseer"):
        yield f"demo-fit-{re.sub(r'[^a-z]+', '_', law)}", "fit", *lstm, "--law", law, "--json", "--resamples", "100"
    yield "demo-fit-pin", "fit", *by, "--pin", "E=1.5", "--prior", "alpha=0.3:0.1", "--json", "--resamples", "100"
    yield "demo-fit-weights", "fit", *by, "--weights", "noise", "--json", "--resamples", "100"
    yield "demo-fit-target", "fit", *lstm, "--law", "power(N)", "--target", "L_train", "--json"
    yield "demo-compare-cnn", "compare", "--where", "family = 'cnn'", "--json"
    yield "demo-compare-family", "compare", *by, "--json"
    yield "demo-compare-cut", "compare", *lstm, "--holdout", "C>=1e10", "--laws", "power,chinchilla,best", "--json"
    yield "demo-compare-data", "compare", *lstm, "--axis", "D", "--json"
    yield "demo-frontier", "frontier", *by, "--json", "--target-C", "1e12", "--inference-tokens", "1e9"
    yield "demo-predict-place", "predict", *by, "--at", "N=1e5,D=1e7", "--json"
    yield "demo-predict-loss", "predict", *lstm, "--at", "L=2.0", "--json"
    yield "demo-predict-compute", "predict", *lstm, "--at", "C=1e12", "--json"
    yield "demo-predict-best", "predict", *lstm, "--law", "best", "--at", "D=1e7", "--json"
    yield "demo-predict-points", "predict", *by, "--points", "{points}", "-o", "{out}/points.csv", "--json"
    yield "demo-forecast", "forecast", *by, "--at", "N=1e5,D=1e7", "-o", "{out}/forecast.json", "--json"
    yield "demo-judge-all", "judge", "--json"
    yield "demo-judge-few", "judge", "--claims", "{claims}", "--json"
    yield "demo-report-few", "report", "--claims", "{claims}", *lstm, "-o", "{out}"
    yield "demo-report-all", "report", "-o", "{out}"
    yield "demo-report-full", "report", "--full", "-o", "{out}"
    for figure in ("loss_vs_compute", "loss_vs_size", "allocation", "residuals", "scorecard", "observed_vs_predicted"):
        yield f"demo-plot-{figure}", "plot", "--figure", figure, "-o", f"{{out}}/{figure}.csv"
    yield "scaling-fit-one", "fit", *one, "--json", "--resamples", "100"
    yield "scaling-fit-family", "fit", *by, "--json", "--resamples", "100", "--tune", "lr"
    yield "scaling-compare-one", "compare", *one, "--laws", "chinchilla,kaplan,power", "--tune", "lr", "--json"
    yield "scaling-frontier", "frontier", *by, "--json", "--tune", "lr"
    yield "scaling-predict", "predict", *by, "--at", "C=1e15", "--json", "--tune", "lr"
    yield "scaling-forecast", "forecast", *one, "--at", "C=1e15,1e16", "-o", "{out}/forecast.json", "--json"
    left_out = ("cnn", "gru", "hybrid", "mingru", "mlp", "moe", "s4d", "ssm", "tanh_rnn")
    two = ("--where", " and ".join(f"family != '{name}'" for name in left_out))
    yield "scaling-judge-two", "judge", *two, "--json"
    yield "scaling-report-two", "report", *two, "-o", "{out}"
    for figure in ("rates", "seed_noise"):
        yield f"scaling-plot-{figure}", "plot", "--figure", figure, "-o", f"{{out}}/{figure}.csv"
    yield "hoffmann-fit", "fit", "--json", "--resamples", "100"
    yield "hoffmann-predict", "predict", "--at", "C=1e23", "--json"
    yield "hoffmann-compare", "compare", "--laws", "chinchilla,power,kaplan", "--json"
    yield "hoffmann-frontier", "frontier", "--json"
    yield "hoffmann-report", "report", "-o", "{out}"
    pin = [option for value in ("E=1.87", "A=520.8", "alpha=0.3526596", "B=1488.4") for option in ("--pin", value)]
    yield "datablations-fit", "fit", "--law", "data_constrained", *pin, "--json", "--resamples", "50"
    yield "datablations-fit-plain", "fit", "--json", "--resamples", "100"
    yield "datablations-report", "report", "-o", "{out}"
    yield "gemstone-fit", "fit", "--json", "--resamples", "100", "--delta", "1e-4"
    yield "gemstone-compare", "compare", "--laws", "chinchilla,kaplan", "--json"
    yield "gemstone-report", "report", "-o", "{out}"
    yield "steplaw-fit", "fit", "--tune", "lr,batch", "--json", "--resamples", "100"
    yield "steplaw-plot-rates", "plot", "--figure", "rates", "-o", "{out}/rates.csv"
    yield "steplaw-report", "report", "-o", "{out}", "--tune", "lr,batch"
    yield "routing-fit", "fit", "--law", "power(N)", "--by", "family", "--json", "--resamples", "100"
    yield "routing-report", "report", "-o", "{out}"
    yield "addition-fit", "fit", "--law", "bnsl(D)", "--json", "--resamples", "50"
    yield "addition-compare", "compare", "--laws", "power(D),power_offset(D),bnsl(D)", "--axis", "D", "--json"
    yield "addition-predict", "predict", "--law", "power_offset(D)", "--at", "D=1e5", "--json"
    yield "isoflop-frontier", "frontier", "--json"
    yield "isoflop-plot-profiles", "plot", "--figure", "isoflop_profiles", "-o", "{out}/profiles.csv"
    yield "isoflop-fit", "fit", "--json", "--resamples", "100"
    yield "isoflop-report", "report", "-o", "{out}"
    yield "evals-fit", "fit", "--by", "data", "--json", "--resamples", "100"
    yield "evals-judge", "judge", "--by", "data", "--json"


def _studies() -> Iterator[Case]:
    """Committed studies: their verdicts and reports, for the figures and quantities that the other tables lack."""
    for study in (
        "known",
        "widths",
        "deep_or_wide",
        "bottleneck",
        "laws",
        "positions_scale",
        "thousand_layers",
        "pixels",
    ):
        table = f"studies/{study}/runs.csv"
        yield Case(f"study-{study}-judge", ("judge", table, "--json"))
        yield Case(f"study-{study}-report", ("report", table, "-o", "{out}"))


MISTAKES = {
    "no-file": ("fit", "missing.csv"),
    "no-law": ("fit", "studies/demo/runs.csv", "--law", "chinchila"),
    "no-column": ("fit", "studies/demo/runs.csv", "--by", "famly"),
    "no-row": ("fit", "studies/demo/runs.csv", "--where", "N > 1e30"),
    "no-verb": ("fitt", "studies/demo/runs.csv"),
    "no-place": ("predict", "studies/demo/runs.csv"),
    "no-option": ("judge", "studies/demo/runs.csv", "--jsn"),
    "few-runs": ("fit", "studies/demo/runs.csv", "--where", "family = 'lstm' and width = 4", "--json"),
    "few-groups": ("fit", "studies/demo/runs.csv", "--by", "run_id", "--json"),
    "no-figure": ("plot", "studies/demo/runs.csv", "--figure", "nothing"),
    "not-drawn": ("plot", "studies/demo/runs.csv", "--figure", "rates", "-o", "{out}/rates.csv"),
    "compare-none": ("compare", "studies/demo/runs.csv", "--laws", "nothing"),
    "no-claims": ("judge", "studies/demo/runs.csv", "--claims", "missing"),
}


def cases() -> list[Case]:
    """Every case, those of the test suite marked."""
    found = []
    for name, verb, *options in _analysis():
        path, *columns = TABLES[name.split("-")[0]]
        found.append(Case(name, (verb, path, *_joined(columns, options))))
    found += _studies()
    found += [Case(f"mistake-{name}", line) for name, line in MISTAKES.items()]
    found += [Case("options", ()), Case("catalogue", ("plot", "--figures")), Case("config", ("train", "--cfg", "job"))]
    return [Case(case.name, case.line, case.name.startswith(QUICK)) for case in found]


def _joined(columns: list[str], options: list[str]) -> list[str]:
    """The options of a table and of a case; --where of both is one."""
    if "--where" in columns and "--where" in options:
        at = options.index("--where")
        columns = [c.replace(c, f"({c}) and ({options[at + 1]})") if c is columns[-1] else c for c in columns]
        options = options[:at] + options[at + 2 :]
    return [*columns, *options]


# -- what a command line gives -----------------------------------------------------------------------------------------


def outputs(case: Case) -> dict[str, Any]:
    """Run a case in this process; its exit code, its JSON and the tables that it wrote."""
    if case.name == "options":
        return {"verbs": options()}
    with tempfile.TemporaryDirectory() as folder:
        places = {"data": os.environ.get("ISOFLOP_REFERENCE_DATA", ""), "out": f"{folder}/out"}
        places |= {"points": f"{folder}/points.csv", "claims": f"{folder}/claims"}
        (Path(folder) / "out").mkdir()
        Path(places["points"]).write_text("family,N,D,L\nlstm,30000,1e7,1.9\nmlp,50000,2e7,\ncnn,1e5,3e7,2.05\n")
        _copy_claims(Path(places["claims"]))
        line = [re.sub(r"\{(data|out|points|claims)\}", lambda m: places[m[1]], argument) for argument in case.line]
        code, stdout = call(line)
        document: dict[str, Any] = {"code": code}
        if "--json" in line and code == 0:
            document["json"] = canonical(json.loads(stdout))
        elif case.name == "config":
            document["json"] = canonical(_yaml(stdout))
        elif case.name == "catalogue":
            document["json"] = sorted(re.findall(r"^(\w+):", stdout, re.MULTILINE))
        written = sorted(p for p in (Path(folder) / "out").rglob("*") if p.is_file())
        document["files"] = [str(p.relative_to(Path(folder) / "out")) for p in written]
        tables = [p for p in written if p.suffix == ".csv"]
        document["tables"] = {str(p.relative_to(Path(folder) / "out")): table(p) for p in tables}
        return document


def _copy_claims(folder: Path) -> None:
    """A few of the claims that ship, of different kinds."""
    folder.mkdir()
    for name in ("H1", "H2", "H3", "H3-local", "H9", "H21-best"):
        path = ROOT / "conf" / "claims" / f"{name}.yaml"
        (folder / path.name).write_text(path.read_text())


def _yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


def call(line: list[str]) -> tuple[int, str]:
    """Exit code and stdout of a command line, run in this process."""
    from isoflop import cli
    from isoflop.errors import UserError

    stdout = io.StringIO()
    before = os.getcwd(), sys.argv
    os.chdir(ROOT)
    sys.argv = ["isoflop", *line]
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cli.call(line), stdout.getvalue()
    except UserError:
        return 2, stdout.getvalue()
    except SystemExit as stop:
        return (stop.code if isinstance(stop.code, int) else int(stop.code is not None)), stdout.getvalue()
    finally:
        os.chdir(before[0])
        sys.argv = before[1]


def options() -> dict[str, Any]:
    """For each verb that Typer reads: the names of its options, defaults, whether required, repeated, a flag."""
    import importlib

    import typer

    from isoflop.cli import VERBS

    found: dict[str, Any] = {verb: {} for verb in VERBS}
    for module in sorted({module for module, _ in VERBS.values()}):
        app = getattr(importlib.import_module(module), "app", None)
        if not isinstance(app, typer.Typer):
            continue
        group: Any = typer.main.get_command(app)
        commands = group.commands if hasattr(group, "commands") else {}
        for verb, command in commands.items():
            found[verb] = {
                "/".join(sorted([*p.opts, *p.secondary_opts])): [
                    None if p.default is None or callable(p.default) else str(p.default),
                    *(bool(getattr(p, about, False)) for about in ("required", "multiple", "is_flag")),
                ]
                for p in command.params
            }
    return found


def canonical(value: Any, key: str = "") -> Any:
    """A document without prose and stamps, its numbers rounded to DIGITS, long lists as sums."""
    if key in STAMPS:
        return "stamp"
    if isinstance(value, dict):
        kept = {k: canonical(v, str(k)) for k, v in value.items()}
        return {k: v for k, v in sorted(kept.items()) if v not in ("stamp", "prose")}
    if key in PROSE:
        return "prose"
    if isinstance(value, list | tuple):
        return sums(list(value)) if len(value) > ROWS else [canonical(v, key) for v in value]
    if isinstance(value, str):
        if HASH.fullmatch(value):
            return "stamp"
        return "prose" if " " in value and key not in ("subject", "law", "by") else value
    return _rounded(value)


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def sums(values: list[Any]) -> Any:
    """A long list: of numbers their count and sums, of tables those of each column, of names how often each occurs."""
    nested = any(isinstance(x, dict | list) for v in values if isinstance(v, dict) for x in v.values())
    if nested and len(values) <= 10 * ROWS:
        return [canonical(v) for v in values]
    if all(isinstance(v, dict) for v in values):
        keys = sorted({k for v in values for k in v})
        columns = {k: [v.get(k) for v in values] for k in keys if k not in STAMPS | PROSE}
        return {"rows": len(values)} | {k: canonical_column(column, k) for k, column in columns.items()}
    return canonical_column(values)


def canonical_column(values: list[Any], key: str = "") -> Any:
    """A column: its values where there are few, else sums that a change of one value or of their order moves."""
    if len(values) <= ROWS:
        return [canonical(v, key) for v in values]
    if any(isinstance(v, dict | list) for v in values):
        return {"rows": len(values), "first": [canonical(v, key) for v in values[:3]]}
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    names: dict[str, int] = {}
    for v in values:
        if not isinstance(v, int | float) or isinstance(v, bool):
            name = str(canonical(v, key)) if v not in (None, "") else "none"
            names[name] = names.get(name, 0) + 1
    weighted = [v * (1 + (7919 * i) % 101 / 101) for i, v in enumerate(numbers)]
    kept: dict[str, Any] = {"n": len(numbers)}
    if numbers:
        about = {"sum": math.fsum(numbers), "size": math.fsum(map(abs, numbers)), "weighted": math.fsum(weighted)}
        kept |= {k: _rounded(v) for k, v in (about | {"low": min(numbers), "high": max(numbers)}).items()}
    return kept | ({"names": dict(sorted(names.items())[:ROWS])} if names else {})


def table(path: Path) -> dict[str, Any]:
    """A table that a verb wrote: its columns."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    columns = {name: [_cell(row[i]) for row in rows] for i, name in enumerate(header)}
    return {"rows": len(rows), "columns": {k: canonical_column(v, k) for k, v in columns.items() if k not in PROSE}}


def _cell(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


# -- recorded and compared ---------------------------------------------------------------------------------------------


def save(case: Case, document: dict[str, Any]) -> None:
    """Write the outputs of a case; the same outputs are the same bytes."""
    STORE.mkdir(exist_ok=True)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    case.path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def load(case: Case) -> dict[str, Any]:
    """The recorded outputs of a case."""
    document: dict[str, Any] = json.loads(gzip.decompress(case.path.read_bytes()))
    return document


def processor() -> dict[str, Any]:
    """Return what rounding depends on: the versions of the libraries and the instructions that they use."""
    import numpy
    import scipy
    from numpy._core._multiarray_umath import __cpu_features__ as features

    used = sorted(name for name, has in features.items() if has)
    return {"numpy": numpy.__version__, "scipy": scipy.__version__, "instructions": used,
            "blas": os.environ.get("OPENBLAS_CORETYPE", "")}  # fmt: skip


def recorded_here() -> bool:
    """Check whether the goldens were recorded on a processor and libraries like these."""
    return bool(json.loads((STORE / "processor.json").read_text()) == processor())


def compared(case: Case, rtol: float = RTOL) -> list[str]:
    """Run a case again and return each difference from what was recorded."""
    if not case.path.exists():
        return ["not recorded"]
    # through JSON, as the recorded ones are
    return list(differences(load(case), json.loads(json.dumps(outputs(case))), rtol))


def differences(old: Any, new: Any, rtol: float = RTOL, where: str = "") -> Iterator[str]:
    """Each place where two documents differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        # a sum is as exact as the size of what it adds up
        scale = max((abs(d.get("size", 0.0)) for d in (old, new) if "weighted" in d), default=0.0)
        for key in sorted({*old, *new}):
            if key not in new:
                yield f"{where}.{key}: gone, was {_short(old[key])}"
            elif key not in old:
                yield f"{where}.{key}: new, {_short(new[key])}"
            elif scale and key in ("sum", "weighted"):
                if abs(old[key] - new[key]) > rtol * 2 * scale:
                    yield f"{where}.{key}: {old[key]} -> {new[key]}"
            else:
                yield from differences(old[key], new[key], rtol, f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and (named := _by_name(old, new)):
        yield from differences(*named, rtol, where)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, rtol, f"{where}[{i}]")
    elif _is_number(old) and _is_number(new):
        if not (math.isclose(old, new, rel_tol=rtol, abs_tol=ATOL) or (math.isnan(old) and math.isnan(new))):
            yield f"{where}: {old} -> {new} ({(new - old) / abs(old) if old else math.inf:+.1e})"
    elif old != new:
        yield f"{where}: {_short(old)} -> {_short(new)}"


def _by_name(*lists: list[Any]) -> list[dict[str, Any]]:
    """Two lists of records as mappings from their names, where these differ; empty where records have no name."""
    for key in NAMES:
        if all(isinstance(row, dict) and isinstance(row.get(key), str) for rows in lists for row in rows):
            named = [{f"{key}={row[key]}": row for row in rows} for rows in lists]
            if [*map(len, named)] == [*map(len, lists)]:
                return named if named[0].keys() != named[1].keys() else []
    return []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def main(argv: list[str] | None = None) -> int:
    """Record or compare; exit code 1 where an output differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.split("\n")[0])
    parser.add_argument("verb", choices=["record", "compare", "list"])
    parser.add_argument("--case", default="", help="those whose name begins so")
    parser.add_argument("--quick", action="store_true", help="those of the test suite alone")
    parser.add_argument("--tree", default=str(ROOT), help="the checkout whose isoflop is called")
    parser.add_argument("--lines", type=int, default=20, help="differences shown of a case")
    given = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(given.tree).resolve()))
    import isoflop

    print(f"isoflop of {Path(isoflop.__file__).parents[1]}", file=sys.stderr)
    chosen = [c for c in cases() if c.name.startswith(given.case) and (c.quick or not given.quick)]
    if given.verb == "record":
        (STORE / "processor.json").write_text(json.dumps(processor()) + "\n")
    elif given.verb == "compare" and not recorded_here():
        print(
            "recorded on another processor or by other libraries: fits that are not identified differ", file=sys.stderr
        )
    failed = 0
    for case in chosen:
        if given.verb == "list":
            print(f"{case.name:28}{'quick  ' if case.quick else '       '}isoflop {' '.join(case.line)}")
            continue
        if case.public and not Path(os.environ.get("ISOFLOP_REFERENCE_DATA") or "missing").is_dir():
            print(f"{case.name}: skipped, ISOFLOP_REFERENCE_DATA names no folder")
            continue
        start = time.process_time()
        try:
            if given.verb == "record":
                document = outputs(case)
                save(case, document)
                said, found = f"code {document.get('code')}, {case.path.stat().st_size} bytes", []
            else:
                found = compared(case)
                said = f"{len(found)} differences" if found else "equal"
        except Exception:
            said, found = "FAILED", traceback.format_exc().splitlines()[-given.lines :]
        failed += bool(found)
        print(f"{case.name}: {said}, {time.process_time() - start:.1f} s CPU", flush=True)
        for line in found[: given.lines]:
            print(f"  {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
