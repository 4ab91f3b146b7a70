"""How to fit, apart from what: checked when they are made, so that no verb checks them again.

Settings(loss="l2", interval="jackknife")
Settings(loss="l3")      # FitError: loss 'l3' is not one of huber, l1, l2, ...
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isoflop.analysis.intervals.resampling import METHODS
from isoflop.analysis.laws.declare import Law
from isoflop.errors import FitError

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
DELTA = 1e-3


@dataclass(frozen=True)
class Settings:
    """The options of a fit; what each means is in analysis/arguments.py. FitError where one cannot be."""

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
        for name, allowed in (("loss", tuple(LOSSES)), ("interval", METHODS), ("weights", _WEIGHTS)):
            if getattr(self, name) not in allowed:
                raise FitError(f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if not 0 < self.delta < np.inf:
            raise FitError(f"delta={self.delta:g} is not above 0, or not finite; the default is {DELTA:g}")
        check_level(self.level)
        if self.resamples < 10:
            raise FitError(f"resamples={self.resamples} is too few for an interval; give 200 or more")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise FitError(f"seed={self.seed} is not a whole number of 0 or more; the default is 0")
        for name, (mean, error) in (self.prior or {}).items():
            if not (0 < error < np.inf and np.isfinite(mean)):
                raise FitError(f"prior {name}={mean:g}:{error:g} needs an error above 0: --prior {name}=1.7:0.1")

    def check_names(self, law: Law) -> None:
        """Raise FitError if a parameter is named that the law does not have."""
        for name in [*(self.pin or {}), *(self.prior or {})]:
            if name not in law.params:
                raise FitError(f"law {law.name} has no parameter {name!r}; it has {', '.join(law.params)}")

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
    if not 0 < level < 1:
        raise FitError(f"level={level:g} is not between 0 and 1; a coverage of 95 % is level=0.95")
