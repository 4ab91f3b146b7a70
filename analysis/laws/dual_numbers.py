"""Dual numbers on arrays: a law written with plain numpy yields its exact Jacobian when its parameters are duals.

    alpha = Dual(np.array([[0.3]]), {0: np.array([[1.0]])})
    (np.array([1e6, 1e7]) ** -alpha).d[0]  # -log(N) * N**-0.3

A dual is a value and its derivatives, one array for each parameter that it depends on. Arrays broadcast: parameters of
shape (starts, 1) against columns (rows,) give (starts, rows). Forward mode, after Griewank and Walther, Evaluating
Derivatives (2008), chapter 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_Parts = dict[int, Array]
_Number = Any  # float, ndarray or Dual


def _scaled(d: Mapping[int, Array], factor: Any) -> _Parts:
    return {k: v * factor for k, v in d.items()}


def _summed(a: Mapping[int, Array], b: Mapping[int, Array]) -> _Parts:
    out = dict(a)
    for k, v in b.items():
        out[k] = out[k] + v if k in out else v
    return out


def _value(x: _Number) -> Any:
    return x.value if isinstance(x, Dual) else x


def _parts(x: _Number) -> Mapping[int, Array]:
    return x.d if isinstance(x, Dual) else {}


@dataclass(slots=True, eq=False)
class Dual:
    """A value and its derivatives `d` by parameter index; a number under +, -, *, /, ** and numpy's functions."""

    value: Any
    d: Mapping[int, Array]

    def __neg__(self) -> "Dual":
        return Dual(-self.value, {k: -v for k, v in self.d.items()})

    def __add__(self, other: _Number) -> "Dual":
        return Dual(self.value + _value(other), _summed(self.d, _parts(other)))

    def __sub__(self, other: _Number) -> "Dual":
        return Dual(self.value - _value(other), _summed(self.d, {k: -v for k, v in _parts(other).items()}))

    def __rsub__(self, other: _Number) -> "Dual":
        return Dual(other - self.value, {k: -v for k, v in self.d.items()})

    def __mul__(self, other: _Number) -> "Dual":
        if not isinstance(other, Dual):
            return Dual(self.value * other, _scaled(self.d, other))
        return Dual(self.value * other.value, _summed(_scaled(self.d, other.value), _scaled(other.d, self.value)))

    def __truediv__(self, other: _Number) -> "Dual":
        if not isinstance(other, Dual):
            return Dual(self.value / other, _scaled(self.d, 1 / other))
        ratio = self.value / other.value
        return Dual(ratio, _summed(_scaled(self.d, 1 / other.value), _scaled(other.d, -ratio / other.value)))

    def __rtruediv__(self, other: _Number) -> "Dual":
        ratio = other / self.value
        return Dual(ratio, _scaled(self.d, -ratio / self.value))

    def __pow__(self, power: _Number) -> "Dual":
        if isinstance(power, Dual):
            log_base = np.log(self.value)
            raised = np.exp(power.value * log_base)
            by_base = _scaled(self.d, raised * power.value / self.value)
            return Dual(raised, _summed(by_base, _scaled(power.d, raised * log_base)))
        return Dual(self.value**power, _scaled(self.d, power * self.value ** (power - 1)))

    def __rpow__(self, base: _Number) -> "Dual":
        # base**p = exp(p log base): the log is taken once over the column and exp is several times faster than pow
        log_base = np.log(base)
        raised = np.exp(self.value * log_base)
        return Dual(raised, _scaled(self.d, raised * log_base))

    __radd__ = __add__
    __rmul__ = __mul__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: _Number, **options: Any) -> "Dual":
        if method == "__call__" and not options:
            if ufunc in _BINARY:
                result: Dual = _BINARY[ufunc](*inputs)
                return result
            if ufunc in _UNARY:
                value, slope = _UNARY[ufunc](inputs[0].value)
                return Dual(value, _scaled(inputs[0].d, slope))
        raise TypeError(f"a law may not use {ufunc.__name__}: its derivative is not in analysis/laws/dual_numbers.py")


def sum_parts(x: _Number, first: NDArray[np.intp], places: NDArray[np.intp], size: int) -> _Number:
    """Return sums (..., size) of parts of x (..., parts) from first[k] on, at places[k]; zero elsewhere."""
    if isinstance(x, Dual):
        parts = {k: sum_parts(v, first, places, size) for k, v in x.d.items()}
        return Dual(sum_parts(x.value, first, places, size), parts)
    sums = np.zeros((*np.shape(x)[:-1], size))
    if len(first):
        sums[..., places] = np.add.reduceat(x, first, axis=-1)
    return sums


def _binary(name: str) -> Callable[[_Number, _Number], Any]:
    return lambda a, b: getattr(a, f"__{name}__")(b) if isinstance(a, Dual) else getattr(b, f"__r{name}__")(a)


def _smaller(a: _Number, b: _Number) -> Dual:
    first = _value(a) <= _value(b)
    parts = _summed(_scaled(_parts(a), first), _scaled(_parts(b), ~first))
    return Dual(np.where(first, _value(a), _value(b)), parts)


def _logaddexp(a: _Number, b: _Number) -> Dual:
    value = np.logaddexp(_value(a), _value(b))
    parts = _summed(_scaled(_parts(a), np.exp(_value(a) - value)), _scaled(_parts(b), np.exp(_value(b) - value)))
    return Dual(value, parts)


_BINARY: dict[np.ufunc, Callable[[_Number, _Number], Any]] = {
    np.add: _binary("add"),
    np.subtract: _binary("sub"),
    np.multiply: _binary("mul"),
    np.divide: _binary("truediv"),
    np.power: _binary("pow"),
    np.minimum: _smaller,
    np.logaddexp: _logaddexp,
}
# function -> (value, slope)
_UNARY: dict[np.ufunc, Callable[[Array], tuple[Array, Array]]] = {
    np.exp: lambda x: (value := np.exp(x), value),
    np.log: lambda x: (np.log(x), 1 / x),
    np.expm1: lambda x: (np.expm1(x), np.exp(x)),
    np.log1p: lambda x: (np.log1p(x), 1 / (1 + x)),
    np.sqrt: lambda x: (value := np.sqrt(x), 0.5 / value),
    np.negative: lambda x: (-x, -np.ones_like(x)),
    np.square: lambda x: (x * x, 2 * x),
}
