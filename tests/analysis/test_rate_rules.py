"""Rules of the training: the best rate, batch and weight decay of a sweep as laws."""

import numpy as np
import pandas as pd
import pytest

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.laws.declare import get_law
from isoflop.analysis.runs.observations import best_settings
from isoflop.errors import UserError


def sweep(rates: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)) -> pd.DataFrame:
    """Cells of N and D whose best rate is 1.79 N^-.713 D^.307, off the grid that was tried, at two batches."""
    rows = []
    for N in (1e7, 1e8, 1e9):
        for D in (1e9, 1e10, 1e11):
            best = 1.79 * N**-0.713 * D**0.307
            for rate in best * 1.3 * np.array(rates):
                for batch in (32.0, 64.0):
                    loss = 2 + 40 * N**-0.2 + 0.05 * np.log(rate / best) ** 2 + 0.1 * (batch == 32.0)
                    rows.append({"N": N, "D": D, "lr": rate, "batch": batch, "L": loss})
    return pd.DataFrame(rows)


def test_a_rule_of_the_rate_is_fitted_from_a_whole_sweep() -> None:
    law = fit(sweep(), "lr_rule")
    assert law.n_rows == 9
    assert law.values["p"] == pytest.approx(-0.713, abs=1e-6)
    assert law.values["q"] == pytest.approx(0.307, abs=1e-6)
    assert any("best of each cell of N, D" in note for note in law.notes)


def test_a_cell_whose_least_is_at_the_edge_is_left_out() -> None:
    rows = sweep()
    edge = (rows["N"] == 1e9) & (rows["D"] == 1e11)
    best, sentence = best_settings(rows[~edge | (rows["lr"] == rows.loc[edge, "lr"].min())], ("N", "D"), "lr")
    assert len(best) == 8
    assert "1 of fewer than 3 values" in sentence
    with pytest.raises(UserError, match="add values of lr"):
        best_settings(sweep(rates=(2.0, 4.0, 8.0)), ("N", "D"), "lr")


def test_a_table_of_best_rates_is_taken_as_it_is() -> None:
    rows = sweep().drop_duplicates(["N", "D"])
    assert fit(rows, "lr_rule", interval="none").n_rows == 9


def test_the_critical_batch_is_that_of_a_fifth_more_targets() -> None:
    batch = 2.0 ** np.arange(4, 13)
    law = fit(pd.DataFrame({"batch": batch, "steps": 1000 * (1 + 500 / batch)}), "critical_batch", interval="none")
    critical = law.derived["critical"].value
    assert critical == pytest.approx(100, rel=1e-6)
    # targets there over the least targets of any batch
    assert 1000 * (1 + 500 / critical) * critical / (1000 * 500) == pytest.approx(1.2)


def test_the_time_scale_gives_the_weight_decay() -> None:
    N, D, lr, batch = 1e8, 2e9, 1e-3, 5e5
    decay = get_law("timescale_rule")(N, D, lr, batch, c=2.0, m=0.5)
    assert batch / (lr * decay * D) == pytest.approx(0.5 * (D / N) ** -0.5)


def test_the_best_batch_of_each_size_and_amount_of_data_is_no_sweep_though_sizes_differ_at_one_amount() -> None:
    N, D = (x.ravel() for x in np.meshgrid([1e7, 1e8, 1e9], np.geomspace(1e9, 1e11, 5)))
    batch = 0.6 * D**0.5 * (1 + 0.05 * np.log10(N / 1e8))
    made = fit(pd.DataFrame({"N": N, "D": D, "batch": batch, "L": 3.0}), "batch_rule", interval="none")
    assert made.n_rows == 15
