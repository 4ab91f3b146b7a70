"""How a quantity is declared: what it needs of a claim's yaml, what it is about, and how its number is worded.

    @quantity(needs=("law", "axis"), unit="percent")
    def holdout_error(sample: Sample) -> Measured:
        \"\"\"largest |ln(predicted / observed)| at the held-out largest size\"\"\"

A quantity is a number with an interval, and checks that must hold beside it; its verdict is the region's. The first
line of its docstring is what rules and listings print. Its declaration is checked when a claim is read.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeVar

import pandas as pd
from scipy.special import stdtr, stdtrit

from isoflop.analysis.claims.region import UNITS, Interval, NumberStyle, Region, VerdictKind
from isoflop.analysis.fitting.fit import Fits
from isoflop.analysis.fitting.local import local_names
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.runs import Runs, as_runs
from isoflop.errors import UserError
from isoflop.wording import listed, suggest

Made = TypeVar("Made")
# keys of a rule that a quantity may need
KEYS = ("law", "axis", "of", "against", "threshold", "reach")
# keys that a quantity may take without needing them
TAKES = ("point", "less", "marks")
SUBJECTS = ("family", "pair")
# what `of` may name that is known from the law
OF_LAW = ("parameter", "local")
OF_WORDS = {"local": "local quantity"}


class Unmeasured(Exception):  # noqa: N818 an outcome, not an error
    """A quantity has no value on these runs; the message is the reason, `kind` the verdict."""

    kind: ClassVar[VerdictKind]


class NotIdentified(Unmeasured):
    """The runs do not determine the quantity."""

    kind = VerdictKind.NOT_IDENTIFIED


class Untested(Unmeasured):
    """Runs or columns that the quantity reads are missing."""

    kind = VerdictKind.UNTESTED


class Pair(NamedTuple):
    """Two families that are compared; a difference is that of the first less the second."""

    first: str = ""
    second: str = ""

    def __str__(self) -> str:
        return f"{self.first} − {self.second}"


@dataclass(frozen=True, eq=False)
class Sample:
    """The usable runs of one subject, a family or both of a pair, and the keys of its rule that a quantity reads."""

    runs: Runs
    """The runs of the family, or of both; a DataFrame is taken too."""
    law: str = ""
    """The law to fit, with its target."""
    axis: str = ""
    """The column along which runs are held out or compared."""
    pair: Pair = field(default_factory=Pair)
    """What the two of a pair are called."""
    level: float = 0.95
    """The coverage of the interval."""
    region: Region | None = None
    """Where the quantity lies if the claim is true."""
    point: Mapping[str, float] = field(default_factory=dict)
    """Where a local quantity is measured."""
    against: str = ""
    """The column against which a slope or a correlation is taken."""
    threshold: float = math.nan
    """The number that the runs of a share exceed."""
    reach: Mapping[str, float] = field(default_factory=dict)
    """The column and the value whose price is measured."""
    less: str = ""
    """A column that is subtracted first."""
    marks: str = ""
    """How the marks of a run make its number."""
    compared: tuple[str, ...] = ("family",)
    """The columns whose values make the pair."""
    sides: tuple[Runs, ...] = ()
    """The runs of each of the pair, the same object in all of its pairs; by family, as `pair` has it, if not given."""
    fits: Fits = field(default_factory=lambda: Fits(pd.DataFrame()))
    """The fits that were made of these runs, and what follows from them."""

    def __post_init__(self) -> None:
        """Take a DataFrame for runs, and cut both sides of a pair out of it."""
        runs = as_runs(self.runs)
        object.__setattr__(self, "runs", runs)
        if self.pair.first and not self.sides:
            both = tuple(runs.with_frame(runs.frame[runs["family"] == name]) for name in self.pair)
            object.__setattr__(self, "sides", both)

    def once(self, function: Callable[..., Made], *arguments: Any) -> Made:
        """Return what a function gives for these arguments, computed once for all samples of these fits."""
        return self.fits.once((function, *arguments), lambda: function(*arguments))


@dataclass(frozen=True)
class Check:
    """A condition beside the number: held (True), failed (False), or not decided by these runs (None)."""

    held: bool | None
    text: str


@dataclass(frozen=True)
class Measured:
    """A number with its interval at the claim's level (None: a bound that does not exist); `seed_sd` is the noise that
    it is set against, `unit` that of the column that it is a mean of."""

    value: float
    low: float | None
    high: float | None
    seed_sd: float | None = None
    checks: tuple[Check, ...] = ()
    reason: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Contrast:
    """A difference between the two of a pair, with its standard error on `df` degrees of freedom."""

    value: float
    se: float
    df: float
    seed_sd: float | None = None
    reason: str = ""
    bound: str = ""
    """least or most where the true difference may lie beyond the value, which then bounds it."""

    def interval(self, level: float) -> Interval:
        """Return Student's interval; (None, None) where there is none."""
        half = float(stdtrit(self.df, (1 + level) / 2)) * self.se if self.df > 0 else math.nan
        if not math.isfinite(half):
            return None, None
        low, high = self.value - half, self.value + half
        return (None if self.bound == "most" else low), (None if self.bound == "least" else high)

    @cached_property
    def p_value(self) -> float:
        """Student's two-sided p of no difference: the interval at 1 − p touches 0; 1 without an interval."""
        if self.df <= 0 or not math.isfinite(self.se) or self.value == 0:
            return 1.0
        return float(2 * stdtr(self.df, -abs(self.value) / self.se)) if self.se > 0 else 0.0


@dataclass(frozen=True)
class Ratio(Contrast):
    """A ratio of two means over pairs of runs, with Fieller's interval (1954): it need not be symmetric or bounded."""

    means: tuple[float, float] = (0.0, 1.0)
    """Of the numerator and of the denominator."""
    covariance: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Variances of the two means, and their covariance."""

    def interval(self, level: float) -> Interval:
        """Return where the numerator less r times the denominator is not told from 0; (None, None) if everywhere."""
        (a, b), (of_a, of_b, both) = self.means, self.covariance
        t = float(stdtrit(self.df, (1 + level) / 2)) if self.df > 0 else math.nan
        square, half, constant = b**2 - t**2 * of_b, a * b - t**2 * both, a**2 - t**2 * of_a
        root = half**2 - square * constant
        if not (square > 0 and root >= 0):
            return None, None
        return (half - math.sqrt(root)) / square, (half + math.sqrt(root)) / square


@dataclass(frozen=True)
class Quantity:
    """A named quantity: how it is measured, what it needs, how it is worded."""

    name: str
    measure: Callable[..., Any]
    needs: tuple[str, ...]
    """Keys of a claim that it needs; it takes no others of KEYS."""
    subject: str
    """`family` (gives a Measured) or `pair` (gives a Contrast)."""
    of: str
    """What `of` names: a `parameter` of the law, a `local` quantity of it, a `column`, or nothing."""
    unit: NumberStyle
    wording: str
    """A clause with its number: {amount}, and {lower} and {higher} or {first} and {second} of a pair; else {of}, {law},
    {axis}, {against}, {reach} of the rule."""
    takes: tuple[str, ...] = ()
    """Keys that it may have beside those it needs, of TAKES."""

    @property
    def title(self) -> str:
        """The first line of its docstring."""
        return (self.measure.__doc__ or "").strip().splitlines()[0]

    def __call__(self, sample: Sample, of: str = "") -> Any:
        """Measure a subject; Unmeasured where columns or runs are missing, or where they do not determine it."""
        if self.of in OF_LAW and of not in self.names(sample.law):
            raise Untested(no_parameter(sample.law, of, self.names(sample.law)))
        law = get_law(sample.law) if sample.law else None
        columns = [*law.columns, law.target] if law else []
        columns += [sample.axis, sample.against, sample.less, *sample.reach, *([of] if self.of == "column" else [])]
        require_columns(sample.runs.frame, filter(None, columns))
        return self.measure(sample, of) if self.of else self.measure(sample)

    def names(self, law: str) -> tuple[str, ...]:
        """Return what `of` may name, where the law says it: parameters and what is derived or local."""
        if self.of not in OF_LAW:
            return ()
        fitted = get_law(law)
        return local_names(fitted) if self.of == "local" else (*fitted.params, *fitted.derived)

    def amount(self, value: float | None, unit: str = "") -> str:
        """Return the number with its unit."""
        return "–" if value is None or math.isnan(value) else f"{self.unit.amount(value)} {unit}".strip()

    def sentence(self, amount: str, value: float, pair: Pair | None = None, **words: str) -> str:
        """Return a clause that names the quantity, its number (`amount`, of a pair the distance), and of a pair which
        is lower; words: what stands for {of}, {law}, {axis}, {against} and {reach}."""
        text = self.wording or f"{self.title}: {{amount}}{' lower for {lower} than for {higher}' if pair else ''}"
        first, second = pair or ("", "")
        lower, higher = (first, second) if value < 0 else (second, first)
        return text.format(amount=amount, lower=lower, higher=higher, first=first, second=second, **words)

    def difference(self, value: float, pair: Pair, of: str = "") -> str:
        """Return a contrast as a label: which of the two is lower, and by how much."""
        if self.unit is UNITS["ratio"]:
            text = f"{pair.first} has {self.unit.distance(value)} times that of {pair.second}"
        else:
            lower, higher = pair if value < 0 else (pair.second, pair.first)
            text = f"{lower} {self.unit.distance(value)} {self.unit.relation} {higher}"
        return text + (f" in {of}" if of else "")


QUANTITIES: dict[str, Quantity] = {}


def quantity(
    *,
    needs: tuple[str, ...] = (),
    takes: tuple[str, ...] = (),
    subject: str = "family",
    of: str = "",
    unit: str = "",
    wording: str = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function under its name; with `of` it takes the sample and one name, otherwise the sample alone.

    needs    keys of a claim that it needs, among law, axis, against, threshold and reach
    takes    keys that it may have beside them, among point, less and marks
    subject  family or pair: what it is measured on
    of       what the claim's key `of` names, which is then needed too: parameter, local or column
    unit     percent for a difference of ln L, otherwise the number is written as it is
    wording  a clause with the number, as Quantity.wording has it; by default the title and the number
    """

    for value, allowed in ((subject, SUBJECTS), (of, ("", *OF_LAW, "column")), (unit, tuple(UNITS))):
        if value not in allowed:
            raise UserError(f"a quantity is declared with {value!r}; choose one of {', '.join(filter(None, allowed))}")
    if not {*needs} <= {*KEYS} - {"of"} or (of in OF_LAW and "law" not in needs):
        raise UserError(f"a quantity is declared with {needs=}; it may need {', '.join(KEYS)}, and a parameter a law")

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        keys = (*needs, *(["of"] if of else []))
        name = function.__name__
        QUANTITIES[name] = Quantity(name, function, keys, subject, of, UNITS[unit], wording, takes)
        return function

    return enter


def listing() -> str:
    """Return every quantity as text: its name and what it is, then its subject and what it needs."""
    return "\n".join(f"{q.name}: {q.title}\n    {_requirements(q)}" for q in QUANTITIES.values())


def _requirements(declared: Quantity) -> str:
    keys = [f"of (a {OF_WORDS.get(declared.of, declared.of)})" if key == "of" else key for key in declared.needs]
    keys[len(keys) :] = [f"may have {key}" for key in declared.takes]
    shown = f"; in {declared.unit.name}" if declared.unit.name else ""
    return f"subject {declared.subject}; needs {', '.join(keys) or 'no further key'}{shown}"


def require_columns(runs: pd.DataFrame, names: Iterable[str], why: str = "") -> None:
    """Raise Untested, naming those of these columns that are absent, else those that are empty."""
    names = list(dict.fromkeys(names))
    absent, empty = [n for n in names if n not in runs], [n for n in names if n in runs and runs[n].isna().all()]
    if absent:
        hint = "".join(suggest(name, map(str, runs.columns)) for name in absent)
        raise Untested(f"the runs have no column{'s' if absent[1:] else ''} {listed(absent)}{why}{hint}")
    if empty:
        raise Untested(f"the runs have no values in the column{'s' if empty[1:] else ''} {listed(empty)}{why}")


def no_parameter(law: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence about a parameter that the law does not have."""
    known = list(known)
    return f"law {law} has no {name}{suggest(name, known) or ';'} it has {', '.join(known)}"
