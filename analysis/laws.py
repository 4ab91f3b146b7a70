"""The catalogue of laws: a law is a function whose signature is its declaration.

Positional arguments are columns of the runs; keyword-only arguments are parameters, and their annotation says what kind of
number each is (its bounds, where to start, whether it enters linearly). The docstring's first line is the formula for the report.
`@law` adds the source, the derived quantities (functions of parameters) and curves (functions of C and parameters).

    @law("Hestness et al. 2017, arXiv:1712.00409, eq. 1")
    def power(x: Column, *, A: Scale, alpha: Exponent) -> Column:
        \"\"\"L(x) = A x^-alpha\"\"\"
        return A * x**-alpha

    get_law("power(D)").columns        # ('D',)
    get_law("chinchilla(n_total, D)")  # the same law under another convention of counting
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from scaling.errors import UserError

Column = NDArray[np.float64]
Scalar = Callable[..., Any]


@dataclass(frozen=True)
class Kind:
    """What kind of number a parameter is: bounds, range of starts, coordinates of the search.

    `log`: searched as its logarithm. `linear`: enters linearly given the others, so that a start is solved and not drawn.
    `unit`: the column in whose range the starts lie. `flat`: a factor up and down; where neither can be told from the optimum,
    the parameter is not identified.
    """

    low: float = -np.inf
    high: float = np.inf
    start: tuple[float, float] = (0.1, 1.0)
    log: bool = False
    linear: bool = False
    unit: str | None = None
    flat: float | None = None


# an irreducible loss; an amplitude; a decay exponent; a term of any sign
Offset = Annotated[float, Kind(low=0.0, linear=True)]
Scale = Annotated[float, Kind(low=0.0, log=True, linear=True)]
Exponent = Annotated[float, Kind(low=0.0, high=10.0, start=(0.05, 1.2), flat=3.0)]
Free = Annotated[float, Kind(linear=True)]


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

    def over(self, *columns: str) -> "Law":
        """The same law over other columns, in the order of its arguments."""
        if len(columns) != len(self.arguments):
            takes = ", ".join(self.arguments)
            raise UserError(f"law {self.name} takes {len(self.arguments)} column(s), {self.name}({takes}), not {len(columns)}")
        shown = columns != self.arguments
        return replace(self, columns=columns, name=f"{self.name}({','.join(columns)})" if shown else self.name)


LAWS: dict[str, Law] = {}


def _given(function: Scalar, params: Mapping[str, Any]) -> dict[str, Any]:
    return {k: params[k] for k in inspect.signature(function).parameters if k in params}


def law(source: str, *, target: str = "L", curves: Mapping[str, Scalar] | None = None, **derived: Scalar) -> Callable[..., Any]:
    """Enter a function in the catalogue: its source, and derived quantities as functions of parameters by name."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(function, include_extras=True)
        signature = inspect.signature(function).parameters.values()
        names = tuple(p.name for p in signature if p.kind is not p.KEYWORD_ONLY)
        params = {p.name: hints[p.name].__metadata__[0] for p in signature if p.kind is p.KEYWORD_ONLY}
        formula = (function.__doc__ or "").strip().splitlines()[0]
        # a law of one column stands over compute until it is told otherwise
        columns = ("C",) if names == ("x",) else names
        name = function.__name__
        LAWS[name] = Law(name, function, columns, params, formula, source, derived, curves or {}, target, names)
        return function

    return enter


def get_law(text: str | Law) -> Law:
    """The law that a text names: 'chinchilla', 'power_offset(C)', 'chinchilla(n_total, D)'."""
    if isinstance(text, Law):
        return text
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None or match[1] not in LAWS:
        raise UserError(f"no law is called {text!r}; choose one of {', '.join(LAWS)}, a column in brackets: power_offset(D)")
    found = LAWS[match[1]]
    if match[2] is not None:
        return found.over(*(c.strip() for c in match[2].split(",")))
    return found.over("C") if found.arguments == ("x",) else found


def _share(alpha: Any, beta: Any) -> Any:
    return beta / (alpha + beta)


def _G(A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    # Hoffmann et al. 2022, arXiv:2203.15556, eq. 4
    return (alpha * A / (beta * B)) ** (1 / (alpha + beta))


def _N_opt(C: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    # ibid., eq. 4, with C = 6 N D
    return _G(A, alpha, B, beta) * (C / 6) ** _share(alpha, beta)


def _D_opt(C: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    return C / 6 / _N_opt(C, A, alpha, B, beta)


@law("Hestness et al. 2017, arXiv:1712.00409, eq. 1")
def power(x: Column, *, A: Scale, alpha: Exponent) -> Column:
    """L(x) = A x^-alpha"""
    return A * x**-alpha


@law("Hestness et al. 2017, arXiv:1712.00409, section 2")
def power_offset(x: Column, *, E: Offset, A: Scale, alpha: Exponent) -> Column:
    """L(x) = E + A x^-alpha"""
    return E + A * x**-alpha


@law(
    "Hoffmann et al. 2022, arXiv:2203.15556, eq. 2",
    curves={"N_opt": _N_opt, "D_opt": _D_opt},
    a=_share,
    b=lambda alpha, beta: alpha / (alpha + beta),
)
def chinchilla(N: Column, D: Column, *, E: Offset, A: Scale, alpha: Exponent, B: Scale, beta: Exponent) -> Column:
    """L(N, D) = E + A N^-alpha + B D^-beta"""
    return E + A * N**-alpha + B * D**-beta
