"""State the truth that a plan assumes while there are no runs, or that the finished runs say, to draw losses from.

truth = Truth.assumed(rows)                                  # a generic one, centred on the design
truth = Truth.given("E=1.6,A=400,alpha=.31,B=400,beta=.29")
truth = Truth.fitted(fit(read_runs("runs.csv")))
truth.draw(planned(rows, truth.form), np.random.default_rng(0))   # losses (rows,) of one simulation
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import erf, exp, pi, sqrt
from typing import Any

import numpy as np
import pandas as pd

from isoflop.analysis.arguments import DELTA, LOSSES
from isoflop.analysis.fitting.diagnose import FitStatus
from isoflop.analysis.fitting.optimum import Optimum
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.laws.declare import Law, get_law
from isoflop.analysis.laws.dual_numbers import Array, Dual
from isoflop.analysis.runs.runs import as_runs
from isoflop.analysis.solving.problem import Objective, Problem
from isoflop.errors import UserError
from isoflop.wording import percent

# of ln L from one run to another, by default: seeds of small models differ by about this much
NOISE = 0.005
# of the variance, what the marks of a run have in common: .4 % by run and .2 % by mark, as in benchmarks/coverage.py
SHARED = 0.8
# Besiroglu et al. 2024, arXiv:2404.10102: .348 and .366, rounded
ALPHA, BETA = 0.34, 0.37
# along the best split of C the reducible loss falls with this power (Hoffmann et al. 2022, arXiv:2203.15556, eq. 4)
EXPONENTS = {"N": ALPHA, "D": BETA, "C": ALPHA * BETA / (ALPHA + BETA)}
# standard deviation of ln of an amplitude before any run: it is a value at N = 1, many factors of e away from the runs,
# and moves by ln N where an exponent moves by one
WIDE = 10.0
# share of E in the loss at the middle of the design: 1.8 of about 3 nats, as on the points of Hoffmann et al. 2022
OFFSET, MIDDLE = 0.6, 3.0


@dataclass(frozen=True)
class Truth:
    """A law with its parameters and the scatter of runs about it.

    params   the parameters by name
    law      the law by name
    noise    standard deviation of ln L between runs
    shared   share of its variance that the marks of a run have in common
    source   where all that comes from
    """

    params: Mapping[str, float]
    law: str = "chinchilla"
    noise: float = NOISE
    shared: float = SHARED
    source: str = field(default="stated", compare=False)

    def __post_init__(self) -> None:
        _check(self.form, self.params, self.noise)

    @property
    def form(self) -> Law:
        """The law as a function."""
        return get_law(self.law)

    @classmethod
    def assumed(cls, rows: pd.DataFrame, law: str = "chinchilla", noise: float = NOISE) -> "Truth":
        """Return a generic truth at the geometric middle of the rows: E is 60 % of the loss and the other terms share
        the rest evenly; UserError for a law of other parameters."""
        form, values = get_law(law), planned(rows, get_law(law))
        if not set(form.params) <= {"E", "A", "alpha", "B", "beta"}:
            raise UserError(
                f"no default parameters for {form.name} ({', '.join(form.params)}): give its values, give runs to fit, "
                "or choose chinchilla"
            )
        if values.empty:
            raise UserError("a design without rows has no middle to centre a truth on; give its values")
        middle = [float(np.exp(np.log(values[c]).mean())) for c in form.columns]
        kinds = [a if a in EXPONENTS else c for a, c in zip(form.arguments, form.columns, strict=True)]
        exponents = [EXPONENTS.get(kind, ALPHA) for kind in kinds]
        if len(form.columns) > sum(name in form.params for name in ("alpha", "beta")):  # one exponent for both terms
            exponents = [sum(exponents) / len(exponents)]
        params = dict(zip([n for n in ("alpha", "beta") if n in form.params], exponents, strict=True))
        scales = [name for name in ("A", "B") if name in form.params]
        share = (1 - OFFSET * ("E" in form.params)) / len(scales)
        params |= {"E": OFFSET * MIDDLE} if "E" in form.params else {}
        for name in scales:  # the term of an amplitude, by its own derivative
            ones = params | dict.fromkeys(scales, 1.0) | {name: Dual(np.array(1.0), {0: np.array(1.0)})}
            params |= {name: share * MIDDLE / float(form(*middle, **ones).d[0])}
        powers = " and ".join(f"{name} {params[name]:.3g}" for name in ("alpha", "beta") if name in params)
        at = ", ".join(f"{c}={x:.2g}" for c, x in zip(form.columns, middle, strict=True))
        parts = (
            f"E is {percent(OFFSET, 0)} of the loss and each term {percent(share, 0)}"
            if "E" in params
            else f"L is {MIDDLE:g}"
        )
        source = f"assumed: {powers}, and at the middle of the design ({at}) {parts}; noise {percent(noise, 2)}"
        return cls({name: params[name] for name in form.params}, law, noise, source=source)

    @classmethod
    def given(cls, text: str, law: str = "chinchilla", noise: float = NOISE) -> "Truth":
        """Read 'E=1.6,A=400,alpha=.31,B=400,beta=.29', also noise=.004; UserError where one is missing or cannot be."""
        form, values = get_law(law), dict[str, float]()
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, equals, number = (x.strip() for x in part.partition("="))
            if not equals or name in values or name not in {*form.params, "noise"}:
                wrong = "given twice" if name in values else "not a name=value of this law"
                raise UserError(f"{part!r} is {wrong}; {_example(form)}")
            try:
                values[name] = float(number)
            except ValueError:
                raise UserError(f"{part!r} is not a number; {_example(form)}") from None
        missing = [name for name in form.params if name not in values]
        if missing:
            raise UserError(f"the truth {text!r} lacks {', '.join(missing)}; {_example(form)}")
        noise = values.pop("noise", noise)
        return cls({name: values[name] for name in form.params}, law, noise, source=f"given; noise {percent(noise, 2)}")

    @classmethod
    def fitted(cls, fit: Fit) -> "Truth":
        """Take the parameters and the scatter of a fit of finished runs; UserError where it has no values."""
        optimum = fit.optimum
        if optimum is None or len(fit.values) < len(fit.params):
            raise UserError(f"no parameters can be taken from {fit.n_rows} rows ({fit.reason}); give its values")
        noise = optimum.noise.pooled
        if optimum.problem.objective.raw:  # in the unit of the loss there
            noise /= float(np.median(optimum.problem.target))
        doubt = "" if fit.status == FitStatus.CONVERGED else f" ({fit.status}: {fit.reason})"
        values = ", ".join(f"{k} {v:.4g}" for k, v in fit.values.items())
        source = f"fitted to {fit.n_runs} runs{doubt}: {values}; noise {percent(noise, 2)}"
        # runs that a law passes through leave no noise, and a simulation needs some
        return cls(fit.values, fit.law.name, max(noise, 1e-6), _shared(fit, optimum), source)

    def loss(self, rows: pd.DataFrame) -> Array:
        """Return the loss without noise at the rows, (rows,)."""
        columns = (rows[c].to_numpy(float) for c in self.form.columns)
        return np.asarray(np.broadcast_to(self.form(*columns, **self.params), len(rows)), dtype=float)

    def draw(self, rows: pd.DataFrame, rng: np.random.Generator) -> Array:
        """Draw losses (rows,) of one simulation of planned rows: noise by run and by row, normal in ln L."""
        runs = as_runs(rows)
        by_run = rng.normal(0, self.noise * np.sqrt(self.shared), runs.count)[runs.codes]
        by_row = rng.normal(0, self.noise * np.sqrt(1 - self.shared), len(rows))
        drawn: Array = self.loss(rows) * np.exp(by_run + by_row)
        return drawn


def problem_at(truth: Truth, rows: pd.DataFrame) -> tuple[Problem, Array]:
    """Return the law on planned rows with the losses of the truth, and the truth as a place u (free,) of the search."""
    columns = tuple(rows[c].to_numpy(float) for c in truth.form.columns)
    problem = Problem(truth.form, columns, truth.loss(rows), Objective("l2", 1.0))
    values = np.array([truth.params[name] for name in problem.free])
    return problem, np.where(problem.logs, np.log(np.where(problem.logs, values, 1.0)), values)


def covariance(rows: pd.DataFrame, truth: Truth, loss: str = "huber") -> Array:
    """Return the covariance (free, free) of the parameters, as the search has them, after the runs of planned `rows`.

    A run adds J' J / sd^2 to what is known, J the exact Jacobian of ln L at the truth, to a weak prior: each parameter
    known to 100 % of itself, an amplitude to WIDE. The rows of a run move together, and the fit takes rows alike, so
    it is a sandwich (Liang and Zeger 1986).
    """
    problem, u = problem_at(truth, rows)
    wide = prior_widths(problem, u)
    if rows.empty:
        return np.diag(wide**2)
    runs = as_runs(rows)
    slopes = problem.linearise(u[None])[1][0] * wide[:, None] / (truth.noise * np.sqrt(inflation(loss, truth.noise)))
    sums = np.zeros((runs.count, len(u)))
    np.add.at(sums, runs.codes, slopes.T)
    bread = slopes @ slopes.T
    meat = (1 - truth.shared) * bread + truth.shared * sums.T @ sums
    left = np.linalg.inv(np.eye(len(u)) + bread)
    known: Array = wide[:, None] * (left @ (np.eye(len(u)) + meat) @ left) * wide
    return known


def prior_widths(problem: Problem, u: Array) -> Array:
    """Return what is known of each parameter beforehand, a standard deviation (free,), about u (free,)."""
    values = np.abs(u)
    return np.where(problem.logs, WIDE, np.where(values > 0, values, 1.0))


def errors(rows: pd.DataFrame, truth: Truth, loss: str = "huber") -> dict[str, float]:
    """Return each parameter's standard error (of ln of an amplitude) after the runs of `rows` (delta method)."""
    variances = np.diag(covariance(planned(rows, truth.form), truth, loss))
    return {name: float(error) for name, error in zip(truth.form.params, np.sqrt(variances), strict=True)}


def inflation(loss: str, noise: float) -> float:
    """Return how much more an estimate varies under a loss than under least squares, for normal noise: E psi^2 /
    (E psi')^2 (Huber 1964, Robust estimation of a location parameter)."""
    if LOSSES[loss][0] == "l2":
        return 1.0
    if LOSSES[loss][0] == "l1":
        return pi / 2
    cut = DELTA / noise
    inside, height = erf(cut / sqrt(2)), exp(-(cut**2) / 2) / sqrt(2 * pi)
    return (inside - 2 * cut * height + cut**2 * (1 - inside)) / inside**2


def best_split(law: Law, C: float, params: Mapping[str, Any]) -> list[Any] | None:
    """Return the columns of a law at the best split of C [FLOPs], in its order; None where it has none."""
    if law.columns == ("C",):
        return [C]
    curves = [f"{argument}_opt" for argument in law.arguments]
    return [law.curve(name, C, params) for name in curves] if set(curves) <= set(law.curves) else None


def planned(rows: pd.DataFrame, law: Law, also: Sequence[str] = ()) -> pd.DataFrame:
    """Return the columns of the law, those in `also` and run_id, one row for each measured point, in an order that does
    not depend on the table's; UserError where a column is missing or not above 0."""
    columns = list(dict.fromkeys([*law.columns, *also]))
    if len(rows) == 0:
        return pd.DataFrame({c: np.empty(0) for c in columns} | {"run_id": np.empty(0, dtype=np.intp)})
    missing = [c for c in columns if c not in rows]
    if missing:
        raise UserError(f"{law.name} needs the columns {', '.join(columns)}; the plan has no {', '.join(missing)}")
    numbers = np.column_stack([pd.to_numeric(rows[c], errors="coerce").to_numpy(float) for c in columns])
    bad = ~(np.isfinite(numbers) & (numbers > 0)).all(1)
    if bad.any():
        shown = ", ".join(f"{c}={rows[c].iloc[int(bad.argmax())]}" for c in columns)
        raise UserError(f"a planned row has {shown}, and a law needs numbers above 0; fix it or leave the run out")
    table = pd.DataFrame(numbers, columns=columns)
    if "run_id" in rows:
        table = table.assign(run_id=rows["run_id"].array).drop_duplicates()
    else:  # every row is a run, replicates too
        table = table.sort_values(columns, kind="stable").assign(run_id=np.arange(len(table)))
    return table.sort_values(["run_id", *columns], kind="stable").reset_index(drop=True)


def _check(form: Law, params: Mapping[str, float], noise: float) -> None:
    if set(params) != set(form.params):
        raise UserError(f"a truth of {form.name} has {', '.join(form.params)}, not {', '.join(params) or 'nothing'}")
    for name, kind in form.params.items():
        low = f"above {kind.low:g}" if kind.log or kind.flat else f"{kind.low:g} or more"
        enough = params[name] > kind.low if kind.log or kind.flat else params[name] >= kind.low
        if not (np.isfinite(params[name]) and enough and params[name] <= kind.high):
            most = f", and at most {kind.high:g}" if np.isfinite(kind.high) else ""
            raise UserError(f"{name}={params[name]:g} is invalid for {form.name}: give a number {low}{most}")
    if not 0 < noise < 1:
        raise UserError(f"noise={noise:g} is not between 0 and 1; it is relative, give noise=0.005 for .5 %")


def _example(form: Law) -> str:
    values = {"E": "1.6", "A": "400", "alpha": ".31", "B": "400", "beta": ".29"}
    return "give " + ",".join(f"{name}={values.get(name, '...')}" for name in form.params)


def _shared(fit: Fit, optimum: Optimum) -> float:
    """Return the share of the variance that the marks of a run have in common, from residuals where runs have marks."""
    runs, count = as_runs(fit.rows).codes, as_runs(fit.rows).count
    if count != fit.n_runs or count == len(runs) or optimum.noise.pooled <= 0:
        return SHARED
    gaps = optimum.residuals()
    within = gaps - (np.bincount(runs, weights=gaps) / np.bincount(runs))[runs]
    by_row = float((within**2).sum()) / (len(runs) - count)
    return float(np.clip(1 - by_row / optimum.noise.pooled**2, 0.0, 0.99))
