"""Made-up studies with a known truth: tables like runs.csv, for the tests of claims, hold-outs and the report."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from isoflop.record import row

# E, A, alpha, B, beta of each made-up family; the losses are near those of a byte-level task
TRUTH: Mapping[str, tuple[float, float, float, float, float]] = {
    "lstm": (0.9, 15.0, 0.30, 60.0, 0.33),
    "mlp": (1.1, 14.0, 0.28, 70.0, 0.33),
    "transformer": (0.8, 16.0, 0.30, 65.0, 0.33),
}


def loss(family: str, N: float, D: float, truth: Mapping[str, Sequence[float]] = TRUTH) -> float:
    """The true loss of a family."""
    E, A, alpha, B, beta = truth[family]
    return float(E + A * N**-alpha + B * D**-beta)


def record(family: str, N: float, D: float, L: float, *, seed: int, rung: str, width: int, **more: object) -> dict:
    """One finished row."""
    per_target = 6.0 * N * 1.1
    return row(
        run_id=f"{family}-{rung}-{seed}".replace(" ", "-"), sweep="made up", mark=1, seed=seed, status="ok",
        family=family, width=width, depth=2, data="text", seq_len=128, batch=16, lr=3e-3, rung=rung,
        N=N, n_body=N * 0.8, n_readout=N * 0.2, n_embed=N * 0.2, n_total=N * 1.2, n_active=N,
        D=D, D_unique=D, epochs=1.0, flops_per_target=per_target, C=per_target * D, C_6nd=7.2 * N * D,
        L=L, L_se=0.004, L_train=L * 0.98, L_bpb=L / np.log(2), wall_s=4.0, targets_per_s=D / 4, device="cpu",
        torch="2.13.0", git="0" * 40, dirty=False,
    ) | more  # fmt: skip


def demo_study(
    families: Sequence[str] = ("lstm", "mlp", "transformer"),
    *,
    noise: float = 0.003,
    seed: int = 0,
    truth: Mapping[str, Sequence[float]] = TRUTH,
    failures: bool = True,
) -> pd.DataFrame:
    """Like `isoflop demo`: 3 widths × 6 budgets of C for each family, 3 seeds at two budgets of the middle width."""
    draw = np.random.default_rng(seed)
    rows = []
    for family in families:
        for width, N in ((16, 2e4), (32, 6e4), (64, 2e5)):
            for step in range(6):
                C = 2e10 * 2.0**step
                D = np.ceil(C / (6.6 * N) / 512) * 512
                replicated = width == 32 and step in (2, 5)
                for run_seed in range(3 if replicated else 1):
                    L = loss(family, N, D, truth) * np.exp(noise * draw.standard_normal())
                    rung = f"budget.C={C:.3g} family.width={width}"
                    rows.append(record(family, N, D, L, seed=run_seed, rung=rung, width=width))
    if failures:
        lost = record(families[0], 2e5, 1e6, 1.0, seed=1, rung="lost", width=64)
        rows.append(
            lost | {"status": "diverged", "reason": "loss was not a number at step 120", "L": None, "L_se": None}
        )
    return pd.DataFrame(rows)


def grid_study(
    families: Sequence[str] = ("lstm", "transformer"),
    *,
    noise: float = 0.003,
    seed: int = 0,
    truth: Mapping[str, Sequence[float]] = TRUTH,
    bend: float = 0.0,
) -> pd.DataFrame:
    """What H1 and H3 ask for: 6 N × 6 D over 2 decades each, 3 seeds at 3 sizes; `bend` breaks the law at the top."""
    draw = np.random.default_rng(seed)
    rows = []
    for family in families:
        for i, N in enumerate(np.geomspace(1e5, 1e7, 6)):
            for j, D in enumerate(np.geomspace(1e6, 1e8, 6)):
                for run_seed in range(3 if (i, j) in ((1, 1), (3, 3), (5, 5)) else 1):
                    broken = np.exp(bend * max(0, i + j - 7))
                    L = loss(family, N, D, truth) * broken * np.exp(noise * draw.standard_normal())
                    rows.append(record(family, N, D, L, seed=run_seed, rung=f"N{i} D{j}", width=16 * 2**i))
    return pd.DataFrame(rows)


def isoflop_study(families: Sequence[str] = ("lstm", "transformer"), noise: float = 0.002) -> pd.DataFrame:
    """6 budgets × 7 sizes about the best one for each family, as in docs/tables.md, without run_id."""
    rng = np.random.default_rng(1)
    rows = []
    for family in families:
        E, A, alpha, B, beta = TRUTH[family]
        for C in np.geomspace(1e12, 1e15, 6):
            best = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (C / 6) ** (beta / (alpha + beta))
            for N in np.round(best * np.geomspace(0.15, 6, 7)):
                L = (E + A * N**-alpha + B * (C / 6 / N) ** -beta) * np.exp(noise * rng.standard_normal())
                rows.append({"family": family, "N": N, "D": C / 6 / N, "C": C, "L": L})
    return pd.DataFrame(rows)
