"""Laws: how one is declared, a function whose signature says what its columns and parameters are, and the catalogue.

Positional arguments are columns of the runs; keyword-only ones are parameters, and their annotation says what kind of
number each is: its bounds, where to start, whether it enters linearly. The docstring's first paragraph is the formula
for the report. `@law` adds the source, derived quantities (functions of parameters) and curves (of C and parameters).

    @law("Hestness et al. 2017, arXiv:1712.00409")
    def power(x: Column, *, A: Scale, alpha: Exponent) -> Column:
        \"\"\"L(x) = A x^-alpha\"\"\"
        return A * x**-alpha

    get_law("chinchilla(n_total, D)").columns     # ('n_total', 'D')
    get_law("chinchilla").formula                 # 'L(N, D) = E + A N^-alpha + B D^-beta'
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import numpy as np

from isoflop import extensions
from isoflop.errors import UserError
from isoflop.wording import suggest

# a column of numbers, an array of them for each start, or a Dual: a law runs on all three
Column = Any
_Scalar = Callable[..., Any]
# FLOPs for each parameter that multiplies and each target, to train and to serve: C = 6 N D; two for a forward pass,
# four for the backward one (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)
TRAIN, SERVE = 6.0, 2.0


@dataclass(frozen=True)
class Kind:
    """What kind of number a parameter is: bounds, range of starts, coordinates of the search.

    `log`: searched as its logarithm. `linear`: enters linearly given the others, so that its start is solved, not
    drawn. `unit`: the argument in whose range the starts lie, 'L' for the target. `flat`: a factor up and down; where
    either cannot be told from the optimum, the parameter is not identified. `usual`: mean and standard deviation
    of what is published of such parameters; it weighs only where runs are being chosen.
    """

    low: float = -np.inf
    high: float = np.inf
    start: tuple[float, float] = (0.1, 1.0)
    log: bool = False
    linear: bool = False
    unit: str | None = None
    flat: float | None = None
    usual: tuple[float, float] | None = None


# an irreducible loss; an amplitude; a decay exponent; a term of any sign that enters linearly; a power of any sign
Offset = Annotated[float, Kind(low=0.0, linear=True)]
Scale = Annotated[float, Kind(low=0.0, log=True, linear=True)]
# usual: exponents of the loss in size and data are .08 and .10 (Kaplan et al. 2020), .34 and .28 (Hoffmann et al.
# 2022), .35 and .37 (Besiroglu et al. 2024), .26 and .59 (McLeish et al. 2025)
Exponent = Annotated[float, Kind(low=0.0, high=10.0, start=(0.05, 1.2), flat=3.0, usual=(0.32, 0.16))]
Free = Annotated[float, Kind(linear=True)]
Power = Annotated[float, Kind(low=-10.0, high=10.0, start=(-1.0, 1.0))]


class Straight(NamedTuple):
    """Coordinates in which a law is nearly straight, where its parameters trade in a bent valley.

    names  the parameters that they stand for, one each
    to     the coordinates by those names, from the columns' means (of logarithms) and all parameters
    back   the parameters, from the means, the coordinates and the other parameters
    """

    names: tuple[str, ...]
    to: Callable[..., dict[str, Any]]
    back: Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Law:
    """A formula, its columns and its parameters; call it with the columns in order and the parameters by name."""

    name: str
    function: Callable[..., Any]
    columns: tuple[str, ...]
    params: Mapping[str, Kind]
    formula: str
    source: str
    derived: Mapping[str, _Scalar] = field(default_factory=dict)
    curves: Mapping[str, _Scalar] = field(default_factory=dict)
    target: str = "L"
    arguments: tuple[str, ...] = ()  # the names of the columns in the formula
    log_linear: bool = False  # the linear parameters enter the logarithm of the law linearly
    straight: Straight | None = None  # where a search takes its steps
    limits: Callable[..., tuple[Any, Any]] | None = None  # the least and the greatest value, of parameters by name

    def __call__(self, *columns: Any, **params: Any) -> Any:
        return self.function(*columns, **params)

    def derive(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return derived quantities at these parameters (arrays give arrays)."""
        with np.errstate(all="ignore"):  # beyond the doubles, and over zero, they are infinite or no number
            return {name: function(**_given(function, params)) for name, function in self.derived.items()}

    def curve(self, name: str, C: Any, params: Mapping[str, Any]) -> Any:
        """Return the derived curve `name` ('N_opt', 'D_opt' ...) at compute C [FLOPs]."""
        if name not in self.curves:
            raise UserError(f"law {self.name} has no {name}(C); it has {', '.join(self.curves) or 'none'}")
        function = self.curves[name]
        with np.errstate(all="ignore"):
            return function(C, **_given(function, params))

    def inside(self, bounds: Any, params: Mapping[str, Any], target: Any) -> Any:
        """Return bounds (2, rows) inside the law's limits, a hundredfold for a score in percent, as `target` tells."""
        if self.limits is None:
            return bounds
        low, high = self.limits(**_given(self.limits, params))
        return np.clip(bounds, low, high if np.max(target) <= high else 100 * high)

    def of(self, target: str) -> "Law":
        """Return the same law of another target, any column of numbers above zero."""
        if target == self.target:
            return self
        if target in self.columns:
            raise UserError(
                f"{self.name} predicts from {', '.join(self.columns)}; choose a target that is not one of them"
            )
        formula = re.sub(rf"\b{self.target}\b", lambda _: target, self.formula)
        return replace(self, target=target, formula=formula, name=f"{target} ~ {self.name}")

    def over(self, *columns: str) -> "Law":
        """Return the same law over other columns, in the order of its arguments."""
        if len(columns) != len(self.arguments):
            takes = ", ".join(self.arguments)
            raise UserError(f"law {self.name} takes {len(self.arguments)} columns ({takes}), not {len(columns)}")
        if len({*columns}) < len(columns):
            raise UserError(f"law {self.name}({','.join(columns)}) takes one column twice; give each its own")
        shown = columns != self.arguments
        names = dict(zip(self.arguments, columns, strict=True))
        formula = re.sub(rf"\b({'|'.join(map(re.escape, names))})\b", lambda match: names[match[1]], self.formula)
        name = f"{self.name}({','.join(columns)})" if shown else self.name
        return replace(self, columns=columns, name=name, formula=formula)


# every law by its name; of the module, LAWS is this with all topics imported
LAWS: dict[str, Law]
ENTERED: dict[str, Law] = {}
# files of laws, in the order in which they are listed; one is imported when no law before it is the one asked for
_TOPICS = ("one_axis", "size_and_data", "architecture", "training", "downstream")
# other names of laws that are listed once
ALIASES: dict[str, str] = {}


def _given(function: _Scalar, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a function takes, as numbers that numpy divides by zero without an error."""
    given = ((k, params[k]) for k in inspect.signature(function).parameters if k in params)
    return {k: np.float64(value) if isinstance(value, int | float) else value for k, value in given}


def law(
    source: str,
    *,
    target: str = "L",
    columns: tuple[str, ...] | None = None,
    aliases: tuple[str, ...] = (),
    curves: Mapping[str, _Scalar] | None = None,
    log_linear: bool = False,
    straight: Straight | None = None,
    limits: Callable[..., tuple[Any, Any]] | None = None,
    **derived: _Scalar,
) -> Callable[..., Any]:
    """Enter a function in the catalogue: its source, and derived quantities as functions of parameters by name.

    `columns`: the columns of the runs that the arguments stand for, where they have other names; `aliases`: other names
    of the law, understood but not listed; `straight`: the coordinates along which a search steps; `limits`: the least
    and the greatest value of the target.
    """

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(function, include_extras=True)
        signature = inspect.signature(function).parameters.values()
        names = tuple(p.name for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD)
        numbers = {p.name: hints[p.name] for p in signature if p.kind is p.KEYWORD_ONLY}
        for p in (p for p in signature if p.kind is p.VAR_KEYWORD):  # of Unpack[SizeAndData], the TypedDict
            numbers = get_type_hints(get_args(hints[p.name])[0], include_extras=True) | numbers
        params = {name: hint.__metadata__[0] for name, hint in numbers.items()}
        formula = " ".join(inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].split())
        # a law of one column stands over compute unless another is given
        over = columns or (("C",) if names == ("x",) else names)
        name = function.__name__
        ENTERED[name] = Law(
            name, function, over, params, formula, source, derived, curves or {}, target, names, log_linear, straight,
            limits,
        )  # fmt: skip
        ALIASES.update(dict.fromkeys(aliases, name))
        return function

    return enter


def topics() -> list[ModuleType]:
    """Import the files of all laws, in the order in which they are listed."""
    return [import_module(f"isoflop.analysis.laws.{name}") for name in _TOPICS]


# [target ~] law [(columns)]
_NAME = re.compile(r"\s*(?:([^~]*[^~\s])\s*~\s*)?(\w+)\s*(?:\(([^()]*)\))?\s*")


def get_law(text: str | Law, target: str | None = None) -> Law:
    """Return the law that a text names: 'chinchilla', 'power_offset(C)', 'accuracy ~ sigmoid(L)'; UserError if none is.

    `target`: the column that it predicts, where that is not the law's own and the text does not say it.
    """
    if isinstance(text, Law):
        return text.of(target) if target else text
    match = _NAME.fullmatch(text)
    word = match[2] if match else text
    if match and word == "best":
        raise UserError(
            "best is an average of laws and has no parameters of its own: it predicts (isoflop predict, compare); "
            "name one law here, such as chinchilla"
        )
    for topic in _TOPICS:
        if word in ENTERED or word in ALIASES:
            break
        import_module(f"isoflop.analysis.laws.{topic}")
    name = ALIASES.get(word, word)
    if match is None or name not in ENTERED:
        raise UserError(
            f"no law is called {text!r}; choose one of {', '.join(ENTERED)}; its columns may follow, as in "
            f"power_offset(D){suggest(word, ENTERED)}"
        )
    columns = None if match[3] is None else [c.strip() for c in match[3].split(",")]
    both = f"{name}_of_both"  # log_accuracy(N,D) is the law of size and data apart
    entry = ENTERED[both if columns and len(columns) == 2 and both in ENTERED else name]
    entry = entry.over(*(columns or entry.columns))
    target = target or match[1]
    return entry.of(target) if target else entry


def __getattr__(name: str) -> Any:
    if name != "LAWS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    topics()
    return ENTERED


if extensions.declared():
    topics()  # a law of an extension comes after ours
    extensions.load("laws")
