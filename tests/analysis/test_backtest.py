"""A rolling hold-out fits the smaller runs and is judged on the larger ones alone."""

import numpy as np
import pandas as pd
import pytest
from studies import demo_study, grid_study

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.holdout.backtest import backtest, hold_out
from isoflop.analysis.holdout.bands import look_back
from isoflop.analysis.runs.cells import choose_law, seed_noise
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.rows import usable
from isoflop.errors import FitError


def test_the_losses_held_out_do_not_change_the_prediction() -> None:
    rows = demo_study(["lstm"], failures=False)
    rows = rows[rows["width"] == 32]
    top = rows["D"] == rows["D"].max()
    one = backtest(rows, "power_offset(D)", axis="D").last
    two = backtest(rows.assign(L=rows["L"].where(~top, 9.9)), "power_offset(D)", axis="D").last
    assert one.errors["predicted"].to_numpy() == pytest.approx(two.errors["predicted"].to_numpy())
    assert one.cut < rows["D"].max()
    assert set(one.errors["D"]) == {rows["D"].max()}


def test_folds_roll_from_the_middle_to_the_last_but_one() -> None:
    test = backtest(grid_study(["lstm"]), "chinchilla", axis="C", folds=4)
    cuts = [fold.cut for fold in test.folds]
    assert cuts == sorted(cuts)
    assert len(cuts) == 4
    assert all((fold.errors["C"] > fold.cut).all() for fold in test.folds)
    inside, known = test.coverage
    assert known == len(test.rows)
    assert inside >= 0.8 * known


def test_no_cut_but_the_last_leaves_a_curve_through_all_its_points() -> None:
    rows = demo_study(["lstm"], failures=False)
    test = backtest(rows[rows["width"] == 32], "power_offset(D)", axis="D")
    assert [len(set(rows.loc[(rows["width"] == 32) & (rows["D"] <= f.cut), "D"])) for f in test.folds] == [4, 5]


def test_the_naive_baselines_are_the_last_value_and_the_line_without_offset() -> None:
    rows = demo_study(["lstm"], noise=0.0, failures=False)
    rows = usable(rows[rows["width"] == 32])
    train, test = rows[rows["D"] < rows["D"].max()], rows[rows["D"] == rows["D"].max()]
    fold = hold_out(train, test, "power_offset(D)", axis="D")
    assert fold.errors["last"].iloc[0] == pytest.approx(train.loc[train["D"].idxmax(), "L"])
    power = rows.assign(L=300 * rows["D"] ** -0.4)
    line = hold_out(
        power[rows["D"] < rows["D"].max()], power[rows["D"] == rows["D"].max()], "power_offset(D)", axis="D"
    )
    assert line.errors["error_line"].abs().max() < 1e-9
    assert fold.errors["error"].abs().max() < 1e-3 < fold.errors["error_line"].abs().max()


def test_seed_noise_is_pooled_over_the_replicated_cells() -> None:
    found = [seed_noise(demo_study(["lstm"], noise=0.01, seed=s)) for s in range(60)]
    assert {n.df for n in found} == {4}
    assert np.sqrt(np.mean([n.sd**2 for n in found if n.sd])) == pytest.approx(0.01, rel=0.15)
    one_seed = demo_study(["lstm"])
    assert seed_noise(one_seed[one_seed["seed"] == 0]).sd is None


def test_runs_that_differ_in_what_was_set_are_no_replicates() -> None:
    rows = pd.DataFrame({"N": 1e8, "D": 1e10, "D_unique": [1e8, 1e9, 1e10], "L": [3.0, 2.6, 2.5]})
    assert seed_noise(rows).sd is None
    assert seed_noise(rows.assign(D_unique=1e10, weight_decay=[0.0, 0.1, 0.2])).sd is None
    assert seed_noise(pd.DataFrame({"C": [1e18, 1e19, 1e20], "L": [3.0, 2.6, 2.5]})).sd is None
    seeds = rows.assign(D_unique=1e10)
    assert seed_noise(seeds).df == 2
    assert seed_noise(seeds.assign(router=["hash", "hash", "top"])).df == 1
    # what was measured, and where, tells nothing apart
    assert seed_noise(seeds.assign(val_loss=[1, 1, 2], host=["a", "a", "b"])).df == 2


def test_values_that_differ_by_rounding_are_one_level() -> None:
    assert list(level_index([1.0e10, 2.0e10, 1.03e10, 8e10, 1.99e10])) == [0, 1, 0, 2, 1]


def test_an_axis_of_two_levels_is_refused_in_a_sentence() -> None:
    rows = grid_study(["lstm"])
    rows = rows[rows["N"] < 5e5]
    with pytest.raises(FitError, match="at least 3 different N"):
        backtest(rows, "chinchilla", axis="N")


def test_a_law_is_chosen_by_what_varies_at_three_levels() -> None:
    rows = grid_study(["lstm"])
    one_size = rows[rows["N"] == rows["N"].max()]
    assert choose_law(rows) == "chinchilla"
    assert choose_law(one_size) == "power_offset(D)"
    # budgets are rounded up to whole steps: a size that differs by a few per cent is the same
    assert choose_law(one_size.assign(N=one_size["N"] * np.linspace(1, 1.05, len(one_size)))) == "power_offset(D)"
    assert choose_law(one_size.head(1)) is None


def test_a_comparison_cuts_where_the_bands_of_a_prediction_do() -> None:
    N, D = (x.ravel() for x in np.meshgrid(1e6 * 4.0 ** np.arange(5), 1e8 * 4.0 ** np.arange(5)))
    noise = np.random.default_rng(0).normal(0, 0.003, len(N))
    rows = pd.DataFrame({"N": N, "D": D, "C": 6 * N * D, "L": (1.6 + 60 * N**-0.3 + 90 * D**-0.3) * np.exp(noise)})
    known = look_back(fit(rows, "chinchilla", interval="none"))
    assert known is not None
    mine = {frozenset(np.flatnonzero(fitted)) for fitted in known.cuts.fitted}
    theirs = [frozenset(np.flatnonzero(rows["C"] <= f.cut)) for f in backtest(rows, "chinchilla", axis="C").folds]
    assert len(theirs) >= 3
    assert set(theirs) <= mine
