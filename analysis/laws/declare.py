"""How a law is declared: a function whose signature says what its columns and parameters are.

Positional arguments are columns of the runs; keyword-only arguments are parameters, and their annotation says what kind
of number each is: its bounds, where to start, whether it enters linearly. The docstring's first paragraph is the
formula for the report. `@law` adds the source, derived quantities (functions of parameters) and curves (of C and
parameters).

    @law("Hestness et al. 2017, arXiv:1712.00409")
    def power(x: Column, *, A: Scale, alpha: Exponent) -> Column:
        \"\"\"L(x) = A x^-alpha\"\"\"
        return A * x**-alpha

The catalogue itself is analysis/laws/catalogue.py and the files that it names, one a topic.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_type_hints

import numpy as np

from isoflop.analysis.laws.dual_numbers import Dual
from isoflop.errors import UserError

# a column of numbers, an array of them for each start, or a Dual: a law runs on all three
Column = Any
Scalar = Callable[..., Any]


@dataclass(frozen=True)
class Kind:
    """What kind of number a parameter is: bounds, range of starts, coordinates of the search.

    `log`: searched as its logarithm. `linear`: enters linearly given the others, so that its start is solved, not
    drawn. `unit`: the argument in whose range the starts lie, 'L' for the target. `flat`: a factor up and down; where
    either cannot be told from the optimum, the parameter is not identified.
    """

    low: float = -np.inf
    high: float = np.inf
    start: tuple[float, float] = (0.1, 1.0)
    log: bool = False
    linear: bool = False
    unit: str | None = None
    flat: float | None = None


# an irreducible loss; an amplitude; a decay exponent; a term of any sign that enters linearly; a power of any sign
Offset = Annotated[float, Kind(low=0.0, linear=True)]
Scale = Annotated[float, Kind(low=0.0, log=True, linear=True)]
Exponent = Annotated[float, Kind(low=0.0, high=10.0, start=(0.05, 1.2), flat=3.0)]
Free = Annotated[float, Kind(linear=True)]
Power = Annotated[float, Kind(low=-10.0, high=10.0, start=(-1.0, 1.0))]


@dataclass(frozen=True)
class Law:
    """A formula, its columns and its parameters; call it with the columns in order and the parameters by name."""

    name: str
    function: Callable[..., Any]
    columns: tuple[str, ...]
    params: Mapping[str, Kind]
    formula: str
    source: str
    derived: Mapping[str, Scalar] = field(default_factory=dict)
    curves: Mapping[str, Scalar] = field(default_factory=dict)
    target: str = "L"
    arguments: tuple[str, ...] = ()  # the names of the columns in the formula
    log_linear: bool = False  # the linear parameters enter the logarithm of the law linearly

    def __call__(self, *columns: Any, **params: Any) -> Any:
        return self.function(*columns, **params)

    def derive(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Derived quantities at these parameters (arrays give arrays)."""
        return {name: function(**_given(function, params)) for name, function in self.derived.items()}

    def curve(self, name: str, C: Any, params: Mapping[str, Any]) -> Any:
        """The derived curve `name` ('N_opt', 'D_opt' ...) at compute C [FLOPs]."""
        if name not in self.curves:
            raise UserError(f"law {self.name} has no {name}(C); it has {', '.join(self.curves) or 'none'}")
        function = self.curves[name]
        return function(C, **_given(function, params))

    def of(self, target: str) -> "Law":
        """The same law of another target, any column of numbers above zero."""
        if target == self.target:
            return self
        if target in self.columns:
            raise UserError(
                f"{self.name} predicts from {', '.join(self.columns)}; choose a target that is not one of them"
            )
        formula = re.sub(rf"\b{self.target}\b", lambda _: target, self.formula)
        return replace(self, target=target, formula=formula, name=f"{target} ~ {self.name}")

    def over(self, *columns: str) -> "Law":
        """The same law over other columns, in the order of its arguments."""
        if len(columns) != len(self.arguments):
            takes = ", ".join(self.arguments)
            raise UserError(
                f"law {self.name} takes {len(self.arguments)} column(s), {self.name}({takes}), not {len(columns)}"
            )
        shown = columns != self.arguments
        names = dict(zip(self.arguments, columns, strict=True))
        formula = re.sub(rf"\b({'|'.join(map(re.escape, names))})\b", lambda match: names[match[1]], self.formula)
        name = f"{self.name}({','.join(columns)})" if shown else self.name
        return replace(self, columns=columns, name=name, formula=formula)


LAWS: dict[str, Law] = {}
# other names of laws that are listed once
ALIASES: dict[str, str] = {}


def _given(function: Scalar, params: Mapping[str, Any]) -> dict[str, Any]:
    return {k: params[k] for k in inspect.signature(function).parameters if k in params}


def law(
    source: str,
    *,
    target: str = "L",
    columns: tuple[str, ...] | None = None,
    aliases: tuple[str, ...] = (),
    curves: Mapping[str, Scalar] | None = None,
    log_linear: bool = False,
    implicit: tuple[str, str] | None = None,
    **derived: Scalar,
) -> Callable[..., Any]:
    """Enter a function in the catalogue: its source, and derived quantities as functions of parameters by name.

    `columns`: the columns of the runs that the arguments stand for, where they have other names; `aliases`: other names
    of the law, understood but not listed.
    `implicit`: the function is a residual that grows with its last column, the target, and is zero at the law; the two
    parameters named are the ends between which the target lies.
    """

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(function, include_extras=True)
        signature = inspect.signature(function).parameters.values()
        names = tuple(p.name for p in signature if p.kind is not p.KEYWORD_ONLY)
        params = {p.name: hints[p.name].__metadata__[0] for p in signature if p.kind is p.KEYWORD_ONLY}
        if implicit:
            names = names[:-1]
        formula = " ".join(inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].split())
        # a law of one column stands over compute unless another is given
        over = columns or (("C",) if names == ("x",) else names)
        name = function.__name__
        explicit = solved(function, *implicit) if implicit else function
        LAWS[name] = Law(
            name, explicit, over, params, formula, source, derived, curves or {}, target, names, log_linear
        )
        ALIASES.update(dict.fromkeys(aliases, name))
        return function

    return enter


# [target ~] law [(columns)]
_NAME = re.compile(r"\s*(?:([^~]*[^~\s])\s*~\s*)?(\w+)\s*(?:\(([^()]*)\))?\s*")


def get_law(text: str | Law, target: str | None = None) -> Law:
    """The law that a text names: 'chinchilla', 'power_offset(C)', 'chinchilla(n_total, D)', 'accuracy ~ sigmoid(L)'.

    `target`: the column that it predicts, where that is not the law's own and the text does not say it.
    """
    if isinstance(text, Law):
        return text.of(target) if target else text
    match = _NAME.fullmatch(text)
    name = ALIASES.get(match[2], match[2]) if match else None
    if match is None or name not in LAWS:
        raise UserError(
            f"no law is called {text!r}; choose one of {', '.join(LAWS)}, a column in brackets: power_offset(D)"
        )
    entry = LAWS[name]
    entry = entry.over(*(entry.columns if match[3] is None else (c.strip() for c in match[3].split(","))))
    target = target or match[1]
    return entry.of(target) if target else entry


# halvings of the bracket: the target to the last bit of a double
_HALVINGS = 60


def solved(residual: Callable[..., Any], low: str, high: str) -> Callable[..., Any]:
    """The target at which a residual that grows with it is zero, with derivatives by the implicit function theorem."""

    def explicit(*columns: Any, **params: Any) -> Any:
        values = {k: v.value if isinstance(v, Dual) else v for k, v in params.items()}
        shape = np.broadcast_shapes(*(np.shape(x) for x in [*columns, *values.values()]))
        below, above = np.broadcast_to(values[low], shape), np.broadcast_to(values[high], shape)
        with np.errstate(all="ignore"):
            for _ in range(_HALVINGS):
                middle = 0.5 * (below + above)
                under = residual(*columns, middle, **values) < 0
                below, above = np.where(under, middle, below), np.where(under, above, middle)
            root = 0.5 * (below + above)
            if not any(isinstance(v, Dual) for v in params.values()):
                return root
            # an index that no parameter has stands for the target
            at = residual(*columns, Dual(root, {-1: np.ones(shape)}), **params)
            return Dual(root, {k: -d / at.d[-1] for k, d in at.d.items() if k != -1})

    return explicit
