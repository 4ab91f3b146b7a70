"""The arguments of verbs and functions: the sentence of each, written once, and those that say how to fit, as a type.

@describe("runs", "law", level="coverage of the bands")
def predict(...): ...

Settings(loss="l3")      # FitError: loss 'l3' is not one of huber, l1, l2, ...
"""

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, TypeVar

from isoflop.errors import FitError

if TYPE_CHECKING:
    from isoflop.analysis.laws.declare import Law

# name -> sentence; lists and mappings are text on the command line: E=1.69, or family,data
ARGUMENTS = {
    "runs": "A table with a row for each run, or for each mark of a run",
    "law": "A law, with its columns in brackets: 'power_offset(D)', 'chinchilla(n_total,D)'; to predict, also 'best'",
    "by": "Columns to group by, each group by itself: family,data",
    "share": "Parameters with one value in all groups: E, or E,alpha; of optimisers alpha,beta (arXiv:2602.07712)",
    "loss": "huber, l1 or l2 of log residuals; raw_huber, raw_l1, raw_l2 of the loss itself",
    "delta": "Huber threshold: where the loss turns from square to linear",
    "interval": "auto, jackknife, bootstrap or none",
    "level": "Coverage of the intervals",
    "resamples": "Resamples of the bootstrap",
    "run": "Column that identifies a run: rows with equal values are one run; default run_id, else every row",
    "then": "A second law, from the loss to a score: 'sigmoid(L)'; a --pin goes to it if it has that name",
    "pin": "Parameters held at a value: E=1.69",
    "prior": "Mean and standard error of a parameter known beforehand: E=1.7:0.1",
    "seed": "Seed of starts and resamples, 0 or more",
    "weights": "none; seed: weigh rows by the noise of seeds, as it changes with N and D; auto: where they tell it; "
    "noise: by that column, sd of ln L",
    "columns": "Names in a foreign file, a factor before them: N=params,D=1e9*tokens,L=loss",
    "where": "Rows to keep: \"family = 'mlp' and C<1e20\", a name with spaces in backticks; never evaluated as code",
    "at": "Where: C=1e21, or N=1e9,D=2e10; with --by also L=2.1, the loss at which to compare compute",
    "point": "Where to take the local quantities: N=1e9,D=2e10, or C=1e20; default the geometric centre of the runs",
    "places": "Points, all combinations of the values: C=1e21,1e22, or N=1e9,D=2e10,4e10; may be repeated",
    "band": "Coverage of the bands for a new run",
    "laws": "Laws, comma-separated, columns in brackets: 'power,bnsl(D),best'; default those that suit the columns",
    "rivals": "Laws whose predictions stand beside those of the law, and are scored with it: kaplan,best",
    "axis": "Column along which the larger runs are held out",
    "holdout": 'Rows to hold out instead, a condition as in --where: "C>=1e20"',
    "reach": "Rank the laws by the cuts that leave at most this factor of the axis to the largest run",
    "folds": "Maximum number of cuts along the axis",
    "target": "Budgets to give N, D and L for: 1e21, or 1e20,1e21 [FLOPs]",
    "tune": "Knobs that were searched; the best value at each N and D is kept: lr, or lr,batch",
    "inference_tokens": "Tokens to be served in all, counted as compute: 1e12",
    "price": "Price of a device-hour and the FLOP/s that a device reaches: 2.5/h@4e14",
    "full": "Also what takes long: scorecard, rival laws, power of open claims; SVG and PNG",
}

F = TypeVar("F", bound=Callable[..., object])


def describe(*names: str, **own: str) -> Callable[[F], F]:
    """Add to a function's docstring a line for each argument: `names` with the sentence above, `own` with theirs."""

    def add(function: F) -> F:
        sentences = {name: ARGUMENTS[name] for name in names} | own
        width = max(len(name) for name in sentences)
        lines = [f"    {name:<{width}}  {sentence}" for name, sentence in sentences.items()]
        function.__doc__ = f"{(function.__doc__ or '').rstrip()}\n\n" + textwrap.indent("\n".join(lines), "    ") + "\n"
        return function

    return add


# name -> (loss, of raw residuals); the raw ones compare L itself, in its own unit
LOSSES = {
    "huber": ("huber", False),
    "l1": ("l1", False),
    "l2": ("l2", False),
    "raw_huber": ("huber", True),
    "raw_l1": ("l1", True),
    "raw_l2": ("l2", True),
}
# the column that holds the noise of rows under `--weights noise`
NOISE = "noise"
_WEIGHTS = ("none", "seed", "auto", NOISE)
_METHODS = ("auto", "jackknife", "bootstrap", "none")
DELTA = 1e-3


@dataclass(frozen=True)
class Settings:
    """How to fit, apart from what: checked when they are made, so that no verb checks them again; else FitError."""

    loss: str = "huber"
    delta: float = DELTA
    interval: str = "auto"
    level: float = 0.95
    resamples: int = 1000
    run: str | None = None
    pin: Mapping[str, float] | None = None
    prior: Mapping[str, tuple[float, float]] | None = None
    seed: int = 0
    weights: str = "none"

    def __post_init__(self) -> None:
        for name, allowed in (("loss", tuple(LOSSES)), ("interval", _METHODS), ("weights", _WEIGHTS)):
            if getattr(self, name) not in allowed:
                raise FitError(f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if not 0 < self.delta < math.inf:
            raise FitError(f"delta={self.delta:g} is not above 0, or not finite; the default is {DELTA:g}")
        check_level(self.level)
        if self.resamples < 10:
            raise FitError(f"resamples={self.resamples} is too few for an interval; give 200 or more")
        if isinstance(self.seed, bool) or not isinstance(self.seed, Integral) or self.seed < 0:
            raise FitError(f"seed={self.seed} is not a whole number of 0 or more; the default is 0")
        for name, (mean, error) in (self.prior or {}).items():
            if not (0 < error < math.inf and math.isfinite(mean)):
                raise FitError(f"prior {name}={mean:g}:{error:g} needs an error above 0: --prior {name}=1.7:0.1")

    def check_names(self, law: "Law") -> None:
        """Raise FitError if a parameter is named that the law does not have, or both pinned and given a prior."""
        for name in [*(self.pin or {}), *(self.prior or {})]:
            if name not in law.params:
                raise FitError(f"law {law.name} has no parameter {name!r}; it has {', '.join(law.params)}")
        for name in {*(self.pin or {})} & {*(self.prior or {})}:
            raise FitError(f"{name} has a pin and a prior; a pin holds it at a value: give one of the two")

    @property
    def shown_delta(self) -> float | None:
        """The delta, where the loss has one."""
        return self.delta if LOSSES[self.loss][0] == "huber" else None

    @property
    def notes(self) -> list[str]:
        """A note for a setting that the loss has no use for."""
        ignored = self.shown_delta is None and self.delta != DELTA
        return [f"delta is ignored: {self.loss} has none"] if ignored else []


def check_level(level: float) -> None:
    """Raise FitError if the coverage of an interval cannot be."""
    if not 0.01 <= level < 1:  # a level below is a percentage divided twice
        raise FitError(f"level={level:g} is not between 0.01 and 1; a coverage of 95 % is level=0.95")
