"""Rows of a known law, for every law of the catalogue: a new law is tested without being listed.

rows, truth = noiseless(LAWS["chinchilla"])
"""

import itertools

import numpy as np
import pandas as pd

from isoflop.analysis.laws.declare import Law
from isoflop.analysis.laws.dual_numbers import Dual

# what a grid of runs looks like along each kind of column; any other name is an axis of six decades
AXES = {
    "N": np.geomspace(1e6, 1e10, 7),
    "D": np.geomspace(1e8, 1e12, 7),
    "D_unique": np.geomspace(3e7, 3e10, 4),
    "width": np.array([64.0, 128, 256, 512, 1024, 2048]),
    "depth": np.array([2.0, 4, 8, 16, 32]),
    "n_experts": np.array([1.0, 2, 4, 8, 16, 64, 256, 1024]),
    "sparsity": np.array([1.0, 2, 4, 8, 16, 32]),
    "n_active": np.geomspace(1e6, 1e10, 7),
    "streams": np.array([1.0, 2, 4, 8]),
    "bits": np.array([3.0, 4, 6, 8, 16]),
    **dict.fromkeys(("bits_weights", "bits_activations", "bits_kv"), np.array([2.0, 4, 8])),
    "loss": np.linspace(1.8, 4.0, 25),
    "S2": np.array([0.02, 0.1, 0.3, 0.6]),
}


def grid(law: Law) -> pd.DataFrame:
    """Every combination of the axes of a law's columns; of a law of whole curves, four that fall at their own time."""
    if "curve" in law.arguments:
        S1 = np.geomspace(0.3, 20, 40)
        falls = enumerate([(0.5, 3e-5), (1.5, 1e-4), (3.0, 3e-5), (1.0, 2e-4)], start=1)
        curves = [pd.DataFrame({"curve": k, "S1": S1, "lr": np.where(at > S1, 3e-4, lr)}) for k, (at, lr) in falls]
        return pd.concat(curves, ignore_index=True).astype(float)
    axes = [AXES.get(a, np.geomspace(1e3, 1e9, 25 if len(law.columns) == 1 else 8)) for a in law.arguments]
    rows = pd.DataFrame(list(itertools.product(*axes)), columns=list(law.columns))
    if {"D", "D_unique"} <= set(law.columns):  # no fewer than one pass over the data
        rows = rows[rows["D"] >= rows["D_unique"]].reset_index(drop=True)
    return rows


def truth(law: Law, rows: pd.DataFrame) -> dict[str, float]:
    """Parameters in the middle of their ranges, amplitudes such that every term counts."""
    columns = [rows[c].to_numpy() for c in law.columns]
    drawn = {}
    for place, (name, kind) in zip(itertools.cycle((0.35, 0.6, 0.7)), law.params.items(), strict=False):
        if not kind.linear:
            low, high = kind.start
            inside = low * (high / low) ** place if low > 0 else low + (high - low) * place
            unit = 2.0 if kind.unit == "L" else 1.0
            if kind.unit not in (None, "L"):
                unit = float(np.exp(np.log(columns[law.arguments.index(kind.unit)]).mean()))
            drawn[name] = inside * unit
    linear = [name for name, kind in law.params.items() if kind.linear]
    drawn |= dict.fromkeys(linear, 1.0)
    for _ in range(10):  # an amplitude may also stand where it is not linear, so its size is found by repetition
        duals = {name: Dual(np.array(drawn[name]), {i: np.array(1.0)}) for i, name in enumerate(linear)}
        value = law(*columns, **(drawn | duals))
        value = np.log(value) if law.log_linear else value
        for i, name in enumerate(linear):
            kind, size = law.params[name], float(np.median(np.abs(value.d[i] + 0 * columns[0])))
            drawn[name] = 1.6 if size == 1 and not law.log_linear else (0.5 if kind.low == 0 else -0.1) / size
    return {name: float(drawn[name]) for name in law.params}


def noiseless(law: Law) -> tuple[pd.DataFrame, dict[str, float]]:
    """A grid of runs that follow the law exactly, and its parameters."""
    rows = grid(law)
    params = truth(law, rows)
    rows[law.target] = law(*(rows[c].to_numpy() for c in law.columns), **params)
    return rows, params


def seeded(name: str) -> pd.DataFrame:
    """A study with 0.5 % noise, the same on every machine: its optima are stored to eight digits."""
    # a congruential generator (Knuth, MMIX) and the sum of twelve uniforms: no library's stream can change under it
    state, uniforms = 2024, []
    for _ in range(12 * 36):
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        uniforms.append(state / 2**64)
    noise = np.array(uniforms).reshape(36, 12).sum(1) - 6
    if name == "chinchilla":
        N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e8, 1e10, 6)))
        rows, L = pd.DataFrame({"N": N, "D": D}), 1.6 + 400 * N**-0.31 + 400 * D**-0.29
    else:
        D = np.geomspace(1e6, 1e10, 36)
        rows, L = pd.DataFrame({"D": D}), 1.2 + 60 * D**-0.25
    return rows.assign(L=L * np.exp(0.005 * noise))
