"""The example in a module's docstring runs: what it imports and calls is there, and takes those arguments.

An example may use what its module has, and these few things that `Props` makes: runs.csv, a folder of runs, a fitted
law, a model. A comment that is a text, or texts, is what the line before it gives.
"""

import ast
import importlib
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pandas as pd
import pytest

from isoflop import record

# what starts processes, or needs a trainer at work or rows that Props has not: every call is bound to the signature of
# what it calls, not made
CALLS_ALONE = {
    "isoflop.analysis.holdout.watching.curves",
    "isoflop.analysis.holdout.watching.filter",
    "isoflop.analysis.holdout.watching.follow",
    "isoflop.extensions",
    "isoflop.scaling.families.layers.cells",
    "isoflop.scaling.hardware",
    "isoflop.scaling.loop.attempt",
    "isoflop.scaling.loop.compiled",
    "isoflop.scaling.loop.ranks",
    "isoflop.scaling.loop.graph",
    "isoflop.scaling.loop.checkpoints",
    "isoflop.scaling.loop.progress",
    "isoflop.scaling.loop.mirror",
    "isoflop.sweeps.compose",
    "isoflop.sweeps.plan.resolution",
    "isoflop.sweeps.study_run",
    "isoflop.analysis.fitting.noise_trend",
    "isoflop.analysis.claims.quantities.holdouts",
    "isoflop.sweeps.plan.buying",
    "isoflop.sweeps.plan.ladder",
    "isoflop.sweeps.costs",
    "isoflop.sweeps.plan.plan",
    "isoflop.sweeps.plan.verb",
    "isoflop.sweeps.watch.dashboard",
    "isoflop.sweeps.workers",
}
MODULES = {examples.dotted(path): path for path in examples.modules()}
EXAMPLES = {name: code for name, path in MODULES.items() if (code := examples.example(path))}
# what draws studies, fits many or draws pages: in the suite its calls are bound, and made at night
LONG = {
    "isoflop.analysis.claims.planned.power",
    "isoflop.analysis.design.simulate",
    "isoflop.analysis.holdout.backtest",
    "isoflop.analysis.holdout.compare",
    "isoflop.analysis.report.figures.base",
    "isoflop.analysis.report.finding",
    "isoflop.analysis.report.plot",
    "isoflop.analysis.report.report",
    "isoflop.analysis.report.scorecard",
    "isoflop.analysis.report.sentences",
    "isoflop.analysis.report.view",
    "isoflop.scaling.estimate",
}
COMMANDS = [(name, command) for name, path in MODULES.items() for command in examples.commands(path)]


class Props:
    """What examples use without saying where it comes from."""

    def __init__(self, runs_folder: Path) -> None:
        self.folder = runs_folder / "0f3a9c2b7d11"

    def made(self) -> pd.DataFrame:
        """Runs of two families under known laws: sizes by budgets, two seeds at the smaller half."""
        rng, rows = np.random.default_rng(0), []
        for family, E in (("lstm", 1.9), ("transformer", 1.7)):
            for C in np.geomspace(1e17, 1e20, 5):
                for N in np.geomspace(0.2, 5, 5) * 0.09 * C**0.49:
                    for seed in range(2 if C < 4e18 else 1):
                        D = C / 6 / N
                        L = (E + 400 * N**-0.34 + 900 * D**-0.31) * np.exp(0.004 * rng.normal())
                        rows.append((f"r{len(rows)}", family, N, D, C, seed, L, f"C={C:.3g} N={N:.3g}", 0.01))
        frame = pd.DataFrame(rows, columns=["run_id", "family", "N", "D", "C", "seed", "L", "rung", "lr"])
        return frame.assign(data="text", status="ok", width=frame["N"], depth=2, mark=1)

    @cached_property
    def texts(self) -> dict[str, str]:
        """The files that examples find, as each finds them anew."""
        table = self.made()
        theirs = table.rename(columns={"N": "params", "D": "tokens", "L": "loss"})
        return {"runs.csv": table.to_csv(index=False), "theirs.csv": theirs.to_csv(index=False)}

    @cached_property
    def at_one_size(self) -> pd.DataFrame:
        """Runs of one family at one size, six amounts of data by three seeds."""
        rng, D = np.random.default_rng(0), np.geomspace(1e7, 1e9, 6).repeat(3)
        L = (2 + 900 * D**-0.4) * np.exp(0.001 * rng.normal(size=D.size))
        ids = [f"r{i}" for i in range(D.size)]
        return pd.DataFrame({"run_id": ids, "N": 1e6, "D": D, "seed": [0, 1, 2] * 6, "L": L, "status": "ok"})

    @cached_property
    def table(self) -> pd.DataFrame:
        return self.runs.assign(budget=pd.factorize(self.runs["C"])[0])

    @cached_property
    def runs(self) -> pd.DataFrame:
        from isoflop.analysis.runs.read import read_runs

        return read_runs("runs.csv").frame

    @cached_property
    def rows(self) -> pd.DataFrame:
        return self.runs[self.runs["family"] == "lstm"]

    @property
    def runs_of_one_family(self) -> pd.DataFrame:
        return self.rows

    @property
    def read_runs(self) -> Any:
        return importlib.import_module("isoflop.analysis.runs.read").read_runs

    @property
    def get_law(self) -> Any:
        return importlib.import_module("isoflop.analysis.laws.declare").get_law

    @property
    def law(self) -> Any:
        return self.get_law("chinchilla")

    @property
    def fit(self) -> Any:
        return importlib.import_module("isoflop.analysis.fitting.fit").fit

    @cached_property
    def answer_of_fit(self) -> Any:
        return self.fit(self.rows, "chinchilla", interval="jackknife")

    @cached_property
    def problem(self) -> Any:
        problem = importlib.import_module("isoflop.analysis.solving.problem").Problem
        return problem(self.law, self.columns, self.L, self.Objective("huber", 1e-3))

    @property
    def Objective(self) -> Any:
        return importlib.import_module("isoflop.analysis.solving.problem").Objective

    @cached_property
    def solution(self) -> Any:
        return importlib.import_module("isoflop.analysis.solving.descent").minimise(self.problem, self.u0)

    @property
    def u(self) -> Any:
        return self.solution.u[int(self.solution.objective.argmin())]

    def observe(self, rows: pd.DataFrame) -> Any:
        runs = importlib.import_module("isoflop.analysis.runs.runs").as_runs(rows)
        return importlib.import_module("isoflop.analysis.fitting.fit").observe(runs, self.law)

    @cached_property
    def prepared(self) -> Any:
        return self.observe(self.rows)

    def family_rows(self, family: str) -> Any:
        rows = self.runs[self.runs["family"] == family]
        return self.observe(rows)

    @property
    def load_fit(self) -> Any:
        return importlib.import_module("isoflop.analysis.fitting.result").load_fit

    @property
    def points(self) -> pd.DataFrame:
        return pd.DataFrame({"N": [1e9], "D": [2e10]})

    @property
    def settings(self) -> Any:
        return importlib.import_module("isoflop.analysis.arguments").Settings()

    @property
    def noise_scale(self) -> Any:
        return importlib.import_module("isoflop.analysis.intervals.profile").noise_scale

    @property
    def best(self) -> float:
        return float(self.solution.objective.min())

    @property
    def drawn(self) -> Any:
        return np.random.default_rng(0).normal(0.3, 0.01, 100)

    @property
    def columns(self) -> Any:
        return self.prepared.columns

    @property
    def residuals(self) -> Any:
        return self.problem.residuals(self.u[None])[0]

    @property
    def run_numbers(self) -> Any:
        return self.prepared.runs

    @property
    def hoffmann(self) -> pd.DataFrame:
        return self.rows.rename(columns={"N": "Model Size", "C": "Training FLOP", "L": "loss"}).filter(regex=" |loss")

    @property
    def L(self) -> Any:
        return self.prepared.target

    @property
    def u0(self) -> Any:
        return importlib.import_module("isoflop.analysis.solving.starts").starts(self.problem, 8, seed=0)

    @property
    def truth(self) -> Any:
        return importlib.import_module("isoflop.analysis.design.assumed_law").Truth.assumed(self.rows)

    @property
    def have(self) -> pd.DataFrame:
        return self.rows.iloc[:-4]

    @property
    def candidates(self) -> pd.DataFrame:
        return self.rows.iloc[-4:]

    @cached_property
    def view(self) -> Any:
        return importlib.import_module("isoflop.analysis.report.view").look(self.runs)

    @property
    def run_folder(self) -> Any:
        return importlib.import_module("isoflop.folder").RunFolder(self.folder)

    @property
    def Heart(self) -> Any:
        return importlib.import_module("isoflop.scaling.process.lock").Heart

    @property
    def thaw(self) -> Any:
        return importlib.import_module("isoflop.scaling.config.frozen").thaw

    @property
    def config(self) -> Any:
        return self.thaw(self.folder)

    @property
    def trainer(self) -> Any:
        return self.config.trainer

    @property
    def plan(self) -> Any:
        return self.config.plan

    @property
    def available(self) -> int:
        return 10**10

    @property
    def text(self) -> str:
        return self.made().to_csv(index=False)

    @property
    def cfg(self) -> Any:
        from hydra import compose, initialize_config_module
        from omegaconf import open_dict

        importlib.import_module("isoflop.scaling.config.composed").register_resolvers()
        with initialize_config_module("isoflop.conf", version_base="1.3"):
            cfg = compose("train", [], return_hydra_config=True)
            with open_dict(cfg):
                cfg.names = {"family": "transformer", "data": "text", "recipe": "adamw"}
        return cfg

    @cached_property
    def assembled(self) -> Any:
        return importlib.import_module("isoflop.scaling.assemble").assemble(self.config)

    @property
    def task(self) -> Any:
        return importlib.import_module("isoflop.scaling.task").Task("tokens", 256, 256, seq_len=16, targets=16)

    @property
    def family(self) -> Any:
        return self.Transformer(width=64, depth=1, lr=0.01)

    @property
    def recipe(self) -> Any:
        return self.assembled.recipe

    @property
    def cost(self) -> Any:
        return self.assembled.cost

    @property
    def model(self) -> Any:
        return self.family.build(self.task)

    @property
    def multipliers(self) -> Any:
        return self.recipe.multipliers(self.model, self.family, self.task)

    @property
    def examples(self) -> Any:
        return importlib.import_module("isoflop.scaling.data.text").Text(size=10_000, seq_len=16, eval_size=256).load()

    @property
    def subject(self) -> Any:
        """What a probe sees of tokens."""
        Subject = importlib.import_module("isoflop.scaling.subject").Subject
        data = self.Text(size=10_000, seq_len=16, eval_size=256)
        return Subject(self.model, self.task, self.examples, "fp32", 0, data, self.family.build)

    @property
    def subject_of_vectors(self) -> Any:
        Subject = importlib.import_module("isoflop.scaling.subject").Subject
        data = importlib.import_module("isoflop.scaling.data.synthetic.spectral").Spectral(size=64, eval_size=512)
        family = importlib.import_module("isoflop.scaling.families.references").Linear(width=16, depth=1, lr=0.02)
        return Subject(family.build(data.task), data.task, data.load(), "fp32", 0, data, family.build)

    @property
    def Positions(self) -> Any:
        return importlib.import_module("isoflop.scaling.probes.positions").Positions

    @property
    def Trainer(self) -> Any:
        import pytorch_lightning as pl

        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
        return lambda **settings: pl.Trainer(**quiet | {"enable_model_summary": False} | settings)

    @property
    def Text(self) -> Any:
        return importlib.import_module("isoflop.scaling.data.text").Text

    @property
    def Transformer(self) -> Any:
        return importlib.import_module("isoflop.scaling.families.transformer").Transformer

    @property
    def x(self) -> Any:
        import torch

        return torch.randn(2, 128, 64)

    def scanned(self, *shape: int) -> Any:
        import torch

        return torch.rand(2, 128, *shape)

    @property
    def tokens(self) -> Any:
        import torch

        return torch.randint(256, (2, 64))

    @property
    def app(self) -> Any:
        return importlib.import_module("isoflop.analysis.verbs").app


# where a name means another thing
ELSEWHERE: dict[str, dict[str, Callable[[Props], Any]]] = {
    "isoflop.analysis.claims.quantities": {"runs": lambda p: p.at_one_size},
    "isoflop.analysis.fitting.groups": {
        "mlp": lambda p: p.family_rows("lstm"),
        "lstm": lambda p: p.family_rows("transformer"),
    },
    "isoflop.scaling.config.identity": {"config": lambda p: p.config.to_json()},
    "isoflop.analysis.fitting.diagnose": {"runs": lambda p: p.run_numbers},
    "isoflop.analysis.intervals.resampling": {"runs": lambda p: p.run_numbers},
    "isoflop.analysis.intervals.residuals": {"runs": lambda p: p.run_numbers},
    "isoflop.record": {"folder": lambda p: p.folder.with_name("scratch")},
    "isoflop.scaling.process.lock": {"folder": lambda p: p.run_folder},
    "isoflop.scaling.probes.eigenfunctions": {"subject": lambda p: p.subject_of_vectors},
    "isoflop.scaling.probes.information": {"subject": lambda p: p.subject_of_vectors},
    "isoflop.scaling.families.layers.scan": {
        "x": lambda p: p.scanned(4, 16),
        "log_decay": lambda p: -p.scanned(4),
        "gain": lambda p: p.scanned(4),
        "write": lambda p: p.scanned(8),
        "read": lambda p: p.scanned(8),
    },
}


@pytest.fixture(scope="module")
def props(small_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Props:
    folder = tmp_path_factory.mktemp("examples")
    for name in ("first", "second"):
        shutil.copytree(small_sweep, folder / "runs" / name)
    for run in sorted(path for path in small_sweep.iterdir() if (path / "frozen.json").exists()):
        shutil.copytree(run, folder / "runs" / run.name)
        if not (folder / "runs" / "0f3a9c2b7d11").exists():
            shutil.copytree(run, folder / "runs" / "0f3a9c2b7d11")
            # a record says which run it is of
            rows = [row | {"run_id": "0f3a9c2b7d11"} for row in record.read(run)]
            record.write(folder / "runs" / "0f3a9c2b7d11", rows)
    return Props(folder / "runs")


@pytest.fixture
def there(props: Props, monkeypatch: pytest.MonkeyPatch) -> Iterator[Props]:
    """In the folder of runs.csv and runs/."""
    monkeypatch.chdir(props.folder.parents[1])
    monkeypatch.setenv("ISOFLOP_DATA", str(props.folder.parents[1] / "kept_corpora"))
    for name, text in props.texts.items():
        Path(name).write_text(text)
    laws = importlib.import_module("isoflop.analysis.laws.declare").LAWS
    quantities = importlib.import_module("isoflop.analysis.claims.quantities").QUANTITIES
    before = dict(laws), dict(quantities)
    yield props
    for registry, entries in zip((laws, quantities), before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("name", sorted(LONG))
def test_a_long_example_uses_what_is_there_by_its_signature(name: str) -> None:
    module = vars(importlib.import_module(name))
    assert lacking(name, module) == []
    check_calls(EXAMPLES[name], module)


def lacking(name: str, module: dict[str, Any]) -> list[str]:
    """What the example of a module uses, and neither it, its module nor Props has."""
    there = {*dir(Props), "folder", *ELSEWHERE.get(name, {})}
    return [used for used in examples.needs(EXAMPLES[name], module) if used not in there]


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore:.*does not have many workers", "ignore:.*`srun` command", "ignore:.*`configure_"
)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] * (name in LONG)) for name in EXAMPLES]
)
def test_an_example_runs(name: str, there: Props) -> None:
    code, module = EXAMPLES[name], vars(importlib.import_module(name))
    names = examples.needs(code, module)
    if name in CALLS_ALONE:
        check_calls(code, module)
        return
    special = ELSEWHERE.get(name, {})
    assert lacking(name, module) == [], "names that neither the example, its module nor Props has"
    namespace = module | {n: special[n](there) if n in special else getattr(there, n) for n in names}
    lines = code.splitlines()
    for statement, shown in statements(code):
        if isinstance(statement, ast.Expr) and shown is not None:
            value = eval(compile(ast.Expression(statement.value), name, "eval"), namespace)
            assert without_numbers(value) == without_numbers(shown), ast.unparse(statement)
        elif isinstance(statement, ast.Raise) or re.search(r"# \w+Error", lines[(statement.end_lineno or 1) - 1]):
            with pytest.raises(Exception, match=r"\S"):
                exec(compile(ast.Module([statement], []), name, "exec"), namespace)
        elif not is_outline(statement):
            run(statement, name, namespace)


def run(statement: ast.stmt, name: str, namespace: dict[str, Any]) -> None:
    """Execute a statement; one that ends the process must end it well."""
    try:
        exec(compile(ast.Module([statement], []), name, "exec"), namespace)
    except SystemExit as stop:
        if stop.code:
            raise


def is_outline(statement: ast.stmt) -> bool:
    """Whether a statement is a function whose body is left out."""
    body = statement.body if isinstance(statement, ast.FunctionDef) else []
    return [ast.unparse(line) for line in body] == ["..."]


def without_numbers(texts: Any) -> str:
    """Texts without their digits and hashes, which are another run's."""
    return re.sub(r"\b[0-9a-f]{12}\b|\d+", "#", repr(texts))


def statements(code: str) -> Iterator[tuple[ast.stmt, Any]]:
    """Each statement, and the text or texts that a comment behind it or on the next line says it gives."""
    lines = code.splitlines()
    for statement in ast.parse(code).body:
        last, following = [*lines, ""][(statement.end_lineno or 1) - 1 :][:2]
        comment = re.search(r"\s# (['(\[].*)$", last) or re.match(r"# (['(\[].*)$", following)
        shown = None
        if comment and isinstance(statement, ast.Expr):
            try:
                shown = ast.literal_eval(comment[1])
            except (SyntaxError, ValueError):
                shown = None
        texts = isinstance(shown, str) or (isinstance(shown, tuple | list) and all(isinstance(x, str) for x in shown))
        yield statement, shown if texts and "..." not in str(shown) else None


def check_calls(code: str, module: dict[str, Any]) -> None:
    """Every call of something of the module fits its signature; every "package.module:name" is there."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and callable(module.get(node.func.id)):
            function: Callable[..., Any] = module[node.func.id]
            keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(function).bind(*node.args, **keywords)
        if isinstance(node, ast.Constant) and re.fullmatch(r"isoflop[\w.]+:\w+", str(node.value)):
            owner, _, name = str(node.value).partition(":")
            assert hasattr(importlib.import_module(owner), name), node.value


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[command for _, command in COMMANDS])
def test_a_command_of_a_docstring_is_one(name: str, command: str) -> None:
    from isoflop.cli import VERBS

    words = command.split()
    verb = words[words.index("isoflop") + 1] if "isoflop" in words else words[3]
    assert verb in VERBS
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    module = importlib.import_module(VERBS[verb][0])
    if verb not in ("train", "demo"):
        import typer

        known = {o for p in typer.main.get_command(module.app).commands[verb].params for o in p.opts}  # type: ignore[attr-defined]
        assert options <= known
