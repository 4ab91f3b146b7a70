"""Where the loss is least at each budget, isoFLOP parabolas and the envelope, and powers of C through the minima.

    minima = pd.DataFrame({"C": [1e17, 1e18, 1e19], "N_opt": [1e7, 3.2e7, 1e8], "D_opt": [1.7e9, 5.2e9, 1.7e10]})
    power_through(minima.assign(step=0.1), None, spare=1, level=0.95).a      # 0.5

A budget is a level of C that stands apart. A cell (a size at a budget) counts with the best value of a searched knob,
and not at all on the edge of what was tried. The minimum of a budget is the vertex of a parabola of ln L in ln N over
the sizes near the best one, and counts only where it opens upward and the vertex lies between sizes that were run.

Powers of C are straight lines through the minima. Where each has an error of its own, the interval follows from what
every run adds to it; where minima scatter by significantly more (an F test), the errors grow by the scale factor of the
Particle Data Group (Review of Particle Physics, section 5.2.2). Else the scatter about the line is all there is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from isoflop.analysis.intervals.estimate import t_quantile
from isoflop.analysis.laws.dual_numbers import Array

# sizes that a parabola needs, one more than its coefficients
SIZES = 4
# sizes this many times smaller or larger than the best one belong to its parabola: ln L is no parabola far from it
NEAR = 4.0
# losses closer than this are equal but for rounding, in ln L
_EQUAL = 1e-12
# budgets that a power of C needs, one more than its coefficients
BUDGETS = 3
# bins of the envelope per decade of C
BINS = 4
# sizes at which a law is asked for its least loss: to 1/1000 of the sizes' span
_FINE = 1001
# minima scatter about a line this rarely where noise is all there is
_RARE = 0.01


class _Runs(NamedTuple):
    """The runs of a budget, (runs,) each, on how many edges the best knobs lie, and whether the budget stands apart."""

    N: Array
    D: Array
    C: Array
    L: Array
    edges: Array
    apart: Array


def _parabola(runs: _Runs) -> dict[str, object]:
    """Return the minimum of one budget: its vertex, whether it counts, and why not."""
    edges = len(np.unique(runs.N[runs.edges > 0]))
    left_out = f"{edges} sizes have their best knob on the edge of what was tried; " if edges else ""
    C, inside = float(np.exp(np.log(runs.C).mean())), runs.edges == 0
    x, y, d = np.log(runs.N[inside]), np.log(runs.L[inside]), np.log(runs.D[inside])
    sizes = len(np.unique(x))
    row: dict[str, object] = {
        "C": C, "sizes": sizes, "N_opt": np.nan, "D_opt": np.nan, "D_per_N": np.nan, "L_opt": np.nan,
        "bend": np.nan, "used": False, "reason": "",
    }  # fmt: skip
    if not runs.apart.all():
        return row | {"reason": "C runs on to its neighbours without a gap: no budget"}
    if sizes < SIZES:
        return row | {"reason": f"{left_out}{sizes} size{'s' * (sizes != 1)}, a parabola needs {SIZES}"}
    near = _near(x, y)
    if np.ptp(y[near]) <= _EQUAL:
        return row | {"reason": f"{left_out}all losses are equal: no minimum"}
    centre = x[near].mean()
    height, slope, bend = _polynomial(x[near] - centre, y[near], 2)
    if bend <= 0:
        return row | {"reason": f"{left_out}the parabola opens downward: no minimum"}
    vertex = centre - slope / (2 * bend)
    if abs(vertex - centre) > np.ptp(x):  # an extrapolation by more than all sizes is no number to show
        vertex = centre + np.copysign(np.ptp(x), vertex - centre)
    start, along = _polynomial(x - centre, d, 1)
    D = float(np.exp(start + along * (vertex - centre)))
    N, L = float(np.exp(vertex)), float(np.exp(height + slope * (vertex - centre) + bend * (vertex - centre) ** 2))
    row |= {"N_opt": N, "D_opt": D, "D_per_N": D / N, "L_opt": L, "bend": bend}
    if not x.min() < vertex < x.max():
        side = "smaller than the smallest" if vertex <= x.min() else "larger than the largest"
        return row | {"reason": f"{left_out}the minimum is {side} size that was run"}
    return row | {"used": True, "reason": left_out.removesuffix("; ")}


def _polynomial(x: Array, y: Array, degree: int) -> Array:
    """Return coefficients (degree + 1,) of the least-squares polynomial, the constant first; x is centred."""
    powers = x[:, None] ** np.arange(degree + 1)
    size = np.sqrt((powers**2).sum(0))
    size[size == 0] = 1.0
    return np.asarray(np.linalg.lstsq(powers / size, y, rcond=len(x) * np.finfo(float).eps)[0] / size)


def _near(x: Array, y: Array) -> Array:
    """Return whether each size is near the best one; the nearest few count in any case."""
    sizes, index = np.unique(x, return_inverse=True)
    means = np.bincount(index, weights=y) / np.bincount(index)
    gap = np.abs(sizes - sizes[means.argmin()])
    near: Array = np.abs(x - sizes[means.argmin()]) <= max(np.log(NEAR), np.sort(gap)[SIZES - 1]) * (1 + 1e-9)
    return near


def best_run(part: pd.DataFrame) -> dict[str, object]:
    """Return the best run of one bin of C; it counts if its size is neither the smallest nor the largest of the bin.
    `step` is ln of the factor between the sizes next to it."""
    inside = part["edges"].to_numpy() == 0
    if not inside.any():
        return {"C": np.nan, "N_opt": np.nan, "D_opt": np.nan, "step": np.nan, "used": False}
    N, D, C, L = (part[name].to_numpy(float)[inside] for name in ("N", "D", "C", "L"))
    best = int(L.argmin())
    size = N[best]
    smaller, larger = N[size > N].max(initial=0.0), N[size < N].min(initial=np.inf)
    counts = bool(smaller > 0 and np.isfinite(larger))
    step = float(np.log(larger / smaller)) if counts else np.nan
    return {"C": C[best], "N_opt": size, "D_opt": D[best], "step": step, "used": counts}


def isoflop(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each budget."""
    apart = table["apart"].to_numpy(bool) if "apart" in table else np.ones(len(table), dtype=bool)
    names, budget = ("N", "D", "C", "L", "edges"), table["budget"].to_numpy()
    columns = [*(table[name].to_numpy(float) for name in names), apart]
    order = np.argsort(budget, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(budget[order])) + 1)
    return pd.DataFrame([_parabola(_Runs._make(column[part] for column in columns)) for part in parts])


def influence(part: pd.DataFrame) -> pd.DataFrame:
    """Return what each run adds to the error of the best N and D of a budget, in ln N and ln D, by run.

    The vertex v = centre - slope / (2 bend) is followed to first order in the residuals, each over sqrt(1 - leverage):
    their squares then add up to the variance without bias (HC2: MacKinnon and White 1985, J. Econometrics 29).
    """
    part = part[part["edges"] == 0]
    x, y = np.log(part["N"].to_numpy()), np.log(part["L"].to_numpy())
    near = _near(x, y)
    z, y = x[near] - x[near].mean(), y[near]
    design = np.stack([z**2, z, np.ones_like(z)], axis=-1)
    inverse = np.linalg.pinv(design.T @ design)
    bend, slope, height = inverse @ design.T @ y
    leverage = np.einsum("ni,ij,nj->n", design, inverse, design)
    residuals = y - design @ np.array([bend, slope, height])
    moved = design @ inverse * (residuals / np.sqrt(np.maximum(1 - leverage, 1e-6)))[:, None]
    vertex = -moved[:, 1] / (2 * bend) + slope * moved[:, 0] / (2 * bend**2)
    along = np.polyfit(x, np.log(part["D"].to_numpy()), 1)[0]
    return pd.DataFrame({"N": vertex, "D": along * vertex}).groupby(part["unit"].to_numpy()[near]).sum()


def spare_rows(part: pd.DataFrame) -> int:
    """Return the rows of a budget's parabola beyond its three coefficients."""
    part = part[part["edges"] == 0]
    return int(_near(np.log(part["N"].to_numpy()), np.log(part["L"].to_numpy())).sum()) - 3


def least_on_budget(loss: Callable[[Array, Array], Array], part: pd.DataFrame) -> float:
    """Return the size of a law's least loss along the budget of these rows, within their sizes; NaN at an end."""
    x = np.log(part["N"].to_numpy())
    if len(np.unique(x)) < SIZES:
        return float("nan")
    line = np.polyfit(x, np.log(part["D"].to_numpy()), 1)
    grid = np.linspace(x.min(), x.max(), _FINE)
    best = int(np.argmin(loss(np.exp(grid), np.exp(np.polyval(line, grid)))))
    return float(np.exp(grid[best])) if 0 < best < _FINE - 1 else float("nan")


@dataclass(frozen=True)
class Power:
    """N_opt = exp(ln_g) C^a and D_opt ~ C^b, with half-widths of a, b and, at ln C, ln N_opt; None of no spare row."""

    ln_g: float
    a: float
    b: float
    half_a: float | None
    half_b: float | None
    half_size: Callable[[float], float] | None = None


def power_through(
    minima: pd.DataFrame, contributions: Sequence[pd.DataFrame] | None, spare: int, level: float
) -> Power | None:
    """Fit the powers through minima (C, N_opt, D_opt) that count; None if these are fewer than BUDGETS, or at one
    compute. contributions: what each run adds to the errors of each, if any; spare: their degrees of freedom."""
    if len(minima) < BUDGETS or np.ptp(np.log(minima["C"].to_numpy(float))) == 0:
        return None
    x, N, D = (np.log(minima[c].to_numpy(float)) for c in ("C", "N_opt", "D_opt"))
    lever = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    a, ln_g = np.polyfit(x, N, 1)
    b = float(lever @ D)
    # what the errors of ln N_opt and of ln D_opt of each minimum come from, (sources, minima) each
    if contributions is None:
        # the best of a few sizes is known to half the step to its neighbours on either side: a uniform error
        least = float(np.sqrt((minima["step"].to_numpy(float) ** 2).mean() / 48))
        moved = [max(_scatter(x, y), least) * np.eye(len(x)) for y in (N, D)]
        t = t_quantile(level, len(x) - 2)
    elif spare > 0:
        of = [pd.concat([part[n] for part in contributions], axis=1).fillna(0.0).to_numpy() for n in ("N", "D")]
        moved = [_scale(x, y, each, spare) * each for y, each in zip((N, D), of, strict=True)]
        t = t_quantile(level, spare)
    else:
        return Power(float(ln_g), float(a), b, None, None)

    def half(sources: Array, weights: Array) -> float:
        return t * float(np.sqrt(((sources @ weights) ** 2).sum()))

    def half_size(at: float) -> float:
        return half(moved[0], 1 / len(x) + lever * (at - x.mean()))

    return Power(float(ln_g), float(a), b, half(moved[0], lever), half(moved[1], lever), half_size)


def _scatter(x: Array, y: Array) -> float:
    """Return the standard deviation of y about its straight line on x."""
    left = y - np.polyval(np.polyfit(x, y, 1), x)
    return float(np.sqrt(left @ left / (len(x) - 2)))


def _scale(x: Array, y: Array, moved: Array, spare: int) -> float:
    """Return how many times further the minima scatter about their line than their errors explain, at least 1."""
    from scipy.special import fdtrc

    left, beyond = y - np.polyval(np.polyfit(x, y, 1), x), len(x) - 2
    ratio = float((left**2 / np.maximum((moved**2).sum(0), 1e-300)).sum()) / beyond
    return float(np.sqrt(ratio)) if fdtrc(beyond, spare, ratio) < _RARE else 1.0
