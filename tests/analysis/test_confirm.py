"""`isoflop confirm`: the multiplier of a change, its interval, its verdict, and what it refuses."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from isoflop.analysis.confirm.choose import next_pairs
from isoflop.analysis.confirm.comparison import Confirmations, confirm
from isoflop.analysis.confirm.decide import Criterion, Verdict, decide, level, spent
from isoflop.analysis.confirm.figure import figure, write
from isoflop.analysis.confirm.multiplier import Clustered, Points, bent, fit_form
from isoflop.analysis.confirm.pairs import sides
from isoflop.analysis.runs.runs import as_runs
from isoflop.errors import FitError, UserError
from isoflop.sweeps.plan.verbs import main

E, A, G, C0 = 1.7, 1.8, 0.12, 1e15
TARGET = 1e18


def loss(C: Any, gain: Any = 0.0) -> Any:
    return E + A * (C * np.exp(gain) / C0) ** -G


def ladder(gain: Any = 0.3, noise: float = 1e-4, seeds: int = 2, **columns: Any) -> pd.DataFrame:
    """Two recipes at four sizes; pairs share five times the noise that each has alone."""
    draw, rows = np.random.default_rng(3), []
    for k, seed in itertools.product(range(4), range(seeds)):
        C, shared = C0 * 4.0**k, 5 * noise * draw.standard_normal()
        for recipe, m in (("old", 0.0), ("new", gain(np.log(C / C0)) if callable(gain) else gain)):
            L = loss(C, m) * np.exp(shared + noise * draw.standard_normal())
            rows.append({"recipe": recipe, "N": 1e6 * 2**k, "D": C / 6e6 / 2**k, "C": C, "seed": seed, "L": L})
    return pd.DataFrame(rows).assign(**columns)


def points(gain: Any = 0.0, noise: float = 0.0) -> Points:
    return sides(as_runs(ladder(gain, noise)), ["recipe"], "old", "new").points


def confirmed(table: pd.DataFrame, target: float = TARGET, **rule: Any) -> Confirmations:
    return confirm(table, ["recipe"], "old", ["new"], target, Criterion(**rule))


# -- arithmetic ------------------------------------------------------------------------------------------------------


def test_of_pairs_the_error_is_that_of_a_paired_t_test() -> None:
    old, new = np.random.default_rng(1).standard_normal((2, 6))
    design = np.column_stack([np.ones(12), np.repeat([0.0, 1.0], 6)])
    effect = np.linalg.lstsq(design, np.r_[old, new], rcond=None)[0]
    fitted = Clustered.of(design, np.r_[old, new] - design @ effect, np.tile(np.arange(6), 2))
    error, dof = fitted.error(np.array([0.0, 1.0]))
    assert error == pytest.approx((new - old).std(ddof=1) / 6**0.5)
    assert dof == pytest.approx(5)


def test_of_single_runs_the_error_is_that_of_welch() -> None:
    old, new = np.random.default_rng(1).standard_normal(5), 3 * np.random.default_rng(2).standard_normal(8)
    design = np.column_stack([np.ones(13), np.repeat([0.0, 1.0], [5, 8])])
    residuals = np.r_[old - old.mean(), new - new.mean()]
    error, _ = Clustered.of(design, residuals, np.arange(13)).error(np.array([0.0, 1.0]))
    assert error**2 == pytest.approx(old.var(ddof=1) / 5 + new.var(ddof=1) / 8)


def test_rows_of_one_unit_are_no_more_than_the_unit() -> None:
    design, values = np.ones((4, 1)), np.array([1.0, 2.0, 4.0, 3.0])
    once = Clustered.of(design, values - values.mean(), np.arange(4))
    twice = Clustered.of(np.ones((8, 1)), np.repeat(values - values.mean(), 2), np.repeat(np.arange(4), 2))
    assert twice.error(np.ones(1)) == pytest.approx(once.error(np.ones(1)))


@pytest.mark.parametrize("bend", [0.0, 0.5, 1.4, -0.12])
def test_a_form_without_noise_is_found(bend: float) -> None:
    top = 3 * np.log(4)

    def gain(u: float) -> float:
        return 0.2 + 0.04 * float(bent(np.array(u - top), bend, top))

    form = fit_form(points(gain), bend)
    assert form.value(np.log(C0) + top) == pytest.approx(0.2, abs=1e-6)
    assert form.value(np.log(TARGET)) == pytest.approx(gain(np.log(TARGET / C0)), abs=1e-5)
    assert form.params[4] == pytest.approx(E, rel=1e-4)


def test_what_both_runs_of_a_pair_share_cancels() -> None:
    runs = ladder(0.0)
    alone = ladder(0.0)
    alone.loc[alone["recipe"] == "new", "seed"] += 10
    together, apart = (sides(as_runs(t), ["recipe"], "old", "new") for t in (runs, alone))
    assert (together.pairs, together.alone, apart.pairs, apart.alone) == (8, 0, 0, 16)
    errors = [fit_form(two.points).at(two.points.top).error for two in (together, apart)]
    assert errors[0] < errors[1] / 2


def test_the_chance_of_all_looks_is_the_whole() -> None:
    assert sum(spent(0.05, look, 4) for look in range(1, 5)) == pytest.approx(0.05)
    assert level(0.05, 1, 1) == pytest.approx(0.05)
    # of two looks by the bivariate normal distribution: 0.0125 and what is beyond the second edge alone
    first, second = (-ndtri(level(0.05, look, 2)) for look in (1, 2))
    both = multivariate_normal([0, 0], [[1, 0.5**0.5], [0.5**0.5, 1]]).cdf([first, second])
    assert 1 - both == pytest.approx(0.05, abs=1e-4)
    assert Criterion(look=2, looks=4, changes=5).now == level(0.01, 2, 4)


def test_the_next_pair_is_the_one_that_narrows_most_for_its_cost() -> None:
    line = fit_form(points(0.1, 1e-3))
    places, goal = np.log(C0 * 4.0 ** np.arange(5)), float(np.log(TARGET))
    costs = 4.0 ** np.arange(5)
    x = np.unique(line.points.x).repeat(2)

    def variance(x: np.ndarray) -> float:
        rows = line.steepness(x)[:, None] * np.column_stack([np.ones_like(x), x - line.points.top])
        contrast = np.array([1.0, goal - line.points.top])
        return float(contrast @ np.linalg.inv(rows.T @ rows) @ contrast)

    gains = [(variance(x) - variance(np.append(x, place))) / cost for place, cost in zip(places, costs, strict=True)]
    assert next_pairs(line, places, costs, goal, money=costs[-1])[int(np.argmax(gains))] > 0
    assert next_pairs(line, places, costs, goal, money=0.5).sum() == 0
    assert next_pairs(line, places, costs, goal, money=100.0) @ costs <= 100


# -- verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "verdict", "trend"),
    [
        (0.3, Verdict.SCALES, ""),
        (-0.2, Verdict.DOES_NOT, ""),
        (lambda u: 0.1 + 0.05 * u, Verdict.SCALES, "grows"),
        (lambda u: 0.2 - 0.1 * u, Verdict.DOES_NOT, "shrinks"),
    ],
)
def test_verdicts_of_quiet_ladders(gain: Any, verdict: Verdict, trend: str) -> None:
    (found,) = confirmed(ladder(gain)).changes
    assert found.decision is not None
    assert found.verdict is verdict
    assert not trend or found.decision.trend == trend
    assert found.decision.target.low is not None
    truth = gain(np.log(TARGET / C0)) if callable(gain) else gain
    assert found.decision.target.low < np.exp(truth) < (found.decision.target.high or np.inf)


def test_what_is_lost_where_it_was_measured_is_never_said_to_scale() -> None:
    (found,) = confirmed(ladder(lambda u: -0.4 + 0.08 * u), target=1e21).changes
    assert found.decision is not None
    assert found.decision.line.value(np.log(1e21)) > 0.3
    assert found.verdict is not Verdict.SCALES


def test_a_gain_that_rises_and_falls_below_one_is_not_said_to_scale() -> None:
    table = ladder(lambda u: 0.4 * np.exp(-np.square((u - 2.3) / 1.2)) - 0.05, noise=2e-3, seeds=4)
    (found,) = confirmed(table).changes
    assert found.decision is not None
    assert found.decision.refuted[0]
    assert found.decision.ways[-1].value < found.decision.line.at(found.decision.line.points.top).value
    assert found.verdict is not Verdict.SCALES


def test_another_irreducible_loss_bends_the_line_and_is_seen() -> None:
    table = ladder(lambda u: 0.4, noise=1e-5)
    table.loc[table["recipe"] == "new", "L"] += 0.03
    (found,) = confirmed(table, target=1e19).changes
    assert found.decision is not None
    assert found.decision.refuted[0]
    assert not found.decision.refuted[1]
    straight, departing, *_ = found.decision.forms
    assert departing.value(np.log(1e19)) < 0 < straight.value(np.log(1e19))


def test_looks_and_changes_widen_the_interval() -> None:
    data, goal = points(0.3, 1e-3), float(np.log(TARGET))
    rules = [Criterion(), Criterion(look=3, looks=3), Criterion(look=1, looks=3), Criterion(look=1, looks=3, changes=2)]
    widths = [decide(data, goal, rule).target.high or np.inf for rule in rules]
    assert widths == sorted(widths)
    assert len(set(widths)) == 4


def test_compute_in_another_unit_changes_nothing() -> None:
    runs = ladder(0.2, 1e-3)
    one, other = (confirmed(runs.assign(C=runs["C"] * f), TARGET * f).changes[0].decision for f in (1, 1e-6))
    assert one is not None
    assert other is not None
    assert one.target.low == pytest.approx(other.target.low)


# -- tables ----------------------------------------------------------------------------------------------------------


def test_marks_of_a_run_are_one_unit() -> None:
    table = ladder(0.1, 1e-3).assign(run_id=lambda t: t.index.map("r{:02}".format), mark=2, width=lambda t: t["N"])
    early = table.assign(mark=1, D=table["D"] / 2, C=table["C"] / 2, L=table["L"] * 1.05)
    two = sides(as_runs(pd.concat([table, early])), ["recipe"], "old", "new")
    assert (two.units, two.pairs) == (8, 8)
    assert len(two.points.x) == 32


def test_a_change_that_costs_more_at_each_step_is_judged_by_the_range_of_both() -> None:
    table = ladder(0.3)
    new = table["recipe"] == "new"
    C = table["C"].where(~new, 1.3 * table["C"])  # no C of one side is one of the other
    dearer = table.assign(C=C, D=table["D"], L=loss(C, np.where(new, 0.3, 0.0)))
    (found,) = confirmed(dearer).changes
    assert (found.verdict, found.runs.levels, found.runs.pairs) == (Verdict.SCALES, 3, 8)
    assert found.decision is not None
    assert found.decision.largest.value == pytest.approx(np.exp(0.3), rel=0.02)
    apart = dearer.assign(C=C.where(~new, 1e4 * C), L=loss(C.where(~new, 1e4 * C)))
    assert confirmed(apart, TARGET * 1e3).changes[0].decision is None


def test_of_several_sizes_at_one_budget_the_best_counts() -> None:
    best = ladder(0.2)
    worse = best.assign(N=best["N"] * 3, D=best["D"] / 3, L=best["L"] * 1.1)
    two = sides(as_runs(pd.concat([best, worse])), ["recipe"], "old", "new")
    assert len(two.points.x) == len(best)
    assert "16 rows left out: not among the best of their side at their C" in two.notes[0].replace("16 of 32", "16")


def test_of_a_searched_rate_each_side_s_best_counts_and_an_edge_is_said() -> None:
    best = ladder(0.2)
    new = best["recipe"] == "new"
    tried = [(0.01, 1.05), (0.02, 1.0), (0.04, np.where(new, 1.3, 1.05))]
    table = pd.concat([best.assign(lr=lr, L=best["L"] * worse) for lr, worse in tried])
    two = sides(as_runs(table), ["recipe"], "old", "new")
    alone = sides(as_runs(best), ["recipe"], "old", "new")
    assert np.sort(two.points.y) == pytest.approx(np.sort(alone.points.y))
    assert two.pairs == alone.pairs
    assert any("new: of lr, searched, the best" in note and "edge" not in note for note in two.notes)
    assert not any("searched alike" in note for note in two.notes)
    one_side = sides(
        as_runs(pd.concat([table[table["recipe"] == "new"], best[~new].assign(lr=0.02)])), ["recipe"], "old", "new"
    ).notes
    assert (
        "lr was not searched alike: 3 values for new, 1 for old, so that luck favours new; give both as many"
        in one_side
    )
    narrow = table[~((table["recipe"] == "new") & (table["lr"] == 0.01))].assign(lr=lambda t: t["lr"])
    narrow = pd.concat([narrow, best[new].assign(lr=0.08, L=best["L"] * 2)])  # the best is the least that new tried
    notes = sides(as_runs(narrow), ["recipe"], "old", "new").notes
    assert any("new: of lr" in note and "at 4 of 4 it lies on the edge" in note for note in notes)


def test_two_tokenisers_are_compared_in_bits_per_byte_or_not_at_all() -> None:
    table = ladder(0.3).assign(data=lambda t: t["recipe"])
    with pytest.raises(UserError, match="differ in data, so that only losses in bits per byte compare"):
        confirmed(table)
    table["L_bpb"], table["L"] = table["L"], 1.0
    (found,) = confirmed(table).changes
    assert found.verdict is Verdict.SCALES
    assert "bits per byte" in found.runs.notes[0]


@pytest.mark.parametrize(
    "column",
    [
        *("dataset", "Corpus", "training data", "data.content", "data.version", "dataset_name"),
        *("held_out", "val_dataset", "evalSet", "test_corpus"),
        *("tokenizer", "tokeniser", "data.tokenizer", "tokenizer_name", "vocab_size", "n_vocab", "loss_unit"),
    ],
)
def test_losses_of_two_texts_or_in_two_tokens_do_not_compare(column: str) -> None:
    named = ladder(0.3).assign(**{column: lambda t: t["recipe"]})
    blank = named.assign(**{column: named[column].where(named["recipe"] == "new")})
    mixed = pd.concat([ladder(0.3).assign(**{column: text}) for text in "ab"])
    for table in (named, blank, mixed):
        with pytest.raises(UserError, match=f"differ in {column}, so that only losses in bits per byte compare; add a"):
            confirmed(table)
        in_bits = table.assign(L_bpb=table["L"], L=np.random.default_rng(1).uniform(1, 2, len(table)))
        assert "losses are compared in bits per byte" in str(confirmed(in_bits).changes[0].runs.notes)
    assert confirmed(named.assign(**{column: "one"})).changes[0].verdict is Verdict.SCALES


@pytest.mark.parametrize("column", ["dataset_size", "data_seed", "test_accuracy", "D_unique", "data.held_out", "val"])
def test_columns_that_say_no_text_are_free_to_differ(column: str) -> None:
    table = ladder(0.3).assign(**{column: lambda t: np.where(t["recipe"] == "new", 1.0, 2.0)})
    assert confirmed(table).changes[0].verdict is Verdict.SCALES


def test_changes_of_the_text_trained_on_compare_on_one_held_out_text() -> None:
    table = ladder(0.3).assign(dataset=lambda t: t["recipe"], val_dataset="c4")
    assert confirmed(table).changes[0].verdict is Verdict.SCALES
    for bad in (table.assign(tokenizer=table["recipe"]), table.assign(val_dataset=table["recipe"])):
        with pytest.raises(UserError, match="only losses in bits per byte compare"):
            confirmed(bad)
    with pytest.raises(UserError, match="differ in dataset"):
        confirmed(table.assign(val_dataset=table["val_dataset"].where(table["C"] > C0)))


@pytest.mark.parametrize(
    ("changes", "target", "sentence"),
    [
        (["newer"], TARGET, "--change newer is not a value of recipe; choose one of new, old"),
        (["old"], TARGET, "the same runs; name two groups"),
        (["new", "new"], TARGET, "names new twice"),
        ([], TARGET, "no change is named"),
        (["new"], 1e15, "lies below the largest C"),
    ],
)
def test_what_does_not_compare_is_refused(changes: list[str], target: float, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        confirm(ladder(), ["recipe"], "old", changes, target)


def test_one_config_under_two_names_is_refused() -> None:
    old = ladder().query("recipe == 'old'")
    with pytest.raises(UserError, match="are the same runs: every loss is equal"):
        confirmed(pd.concat([old, old.assign(recipe="new")]))


def test_losses_that_do_not_fall_are_refused() -> None:
    table = ladder()
    with pytest.raises(FitError, match="do not fall with C"):
        confirmed(table.assign(L=table["L"] * table["C"] ** 0.2))


@pytest.mark.parametrize("rule", [{"worth": 0.9}, {"risk": 0.6}, {"look": 3, "looks": 2}, {"look": 0}])
def test_a_criterion_that_decides_nothing_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(rule))}"):
        Criterion(**rule)


@pytest.mark.parametrize("few", ["N < 1.5e6", "N < 2.5e6 and seed = 0"])
def test_too_few_runs_decide_nothing_and_say_what_would(few: str) -> None:
    found = confirm(as_runs(ladder(0.3)).select(few), ["recipe"], "old", ["new"], TARGET)
    assert found.code == 4
    assert "needs      at least 2 C and 3 pairs" in str(found)
    assert found.to_json()["changes"][0]["at_target"]["value"] is None


# -- the verb --------------------------------------------------------------------------------------------------------


def test_the_verb_prints_one_screen_and_its_code_is_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.concat([ladder(0.3), ladder(-0.2).query("recipe == 'new'").assign(recipe="bad")])
    table.to_csv(path := tmp_path / "runs.csv", index=False)
    call = ["confirm", str(path), "--by", "recipe", "--base", "old", "--target-C", "1e18"]
    assert main([*call, "--change", "new", "-o", str(tmp_path / "m.csv")]) == 0
    screen = capsys.readouterr().out.splitlines()
    assert len(screen) < 24
    assert any("verdict    scales" in line for line in screen)
    assert set(pd.read_csv(tmp_path / "m.csv")["kind"]) == {"even", "line", "beyond", "target", "run"}
    assert main([*call, "--change", "bad"]) == 3
    assert main([*call, "--change", "bad", "--change", "new", "--worth", "2", "--target-C", "1e30", "--json"]) == 4
    document = json.loads(capsys.readouterr().out.split("Each bound")[-1].split("\n", 1)[-1])
    assert list(document) == ["base", "target_C", "worth", "risk", "look", "looks", "bound_risk", "changes"]
    assert list(document["changes"][0]) == [
        *("change", "verdict", "pairs", "top", "units", "levels", "beyond", "at_largest", "at_target", "slope"),
        *("trend", "refuted", "rests_on", "needs", "notes"),
    ]


def test_a_figure_draws_lines_to_the_target_and_says_what_it_cannot(tmp_path: Path) -> None:
    found = confirmed(ladder(0.3))
    drawn = figure(found)
    assert drawn.data["C"].max() == pytest.approx(TARGET)
    assert "Compute multiplier over old against C" in drawn.alt
    with pytest.raises(UserError, match=r"ends in \.gif"):
        write(found, tmp_path / "m.gif")
    with pytest.raises(FitError, match="nothing to draw"):
        figure(confirm(as_runs(ladder()).select("N < 1.5e6"), ["recipe"], "old", ["new"], TARGET))
