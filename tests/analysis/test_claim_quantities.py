"""Each quantity of a column, of a price and of tuning, on tables of which it is known exactly."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from studies import grid_study

from isoflop.analysis.claims.declare import QUANTITIES, NotIdentified, Pair, Sample, Untested
from isoflop.analysis.claims.quantities.cells import of_runs, pairs, with_derived
from isoflop.analysis.claims.quantities.columns import welch
from isoflop.analysis.claims.quantities.pairs import both_fits, contrast
from isoflop.analysis.claims.quantities.reach import first_reach
from isoflop.analysis.claims.quantities.tuning import _window
from isoflop.analysis.claims.region import Region
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import scope
from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.runs.runs import as_runs

COLUMN = "probe.x.y"


def table(**columns: object) -> pd.DataFrame:
    """Runs with a run_id each, seeds 0, 1, ... and what is given."""
    frame = pd.DataFrame(columns)
    ids = {"run_id": [f"r{i}" for i in range(len(frame))], "L": 2.0, "status": "ok"}
    given = {key: value for key, value in ids.items() if key not in frame}
    return frame.assign(**given, **({} if "seed" in frame else {"seed": range(len(frame))}))


def two_families(a: list[float], b: list[float]) -> pd.DataFrame:
    """One column of two families, paired by their seeds."""
    names = ["lstm"] * len(a) + ["mlp"] * len(b)
    return table(family=names, seed=[*range(len(a)), *range(len(b))], **{COLUMN: [*a, *b]})


def measure(name: str, rows: pd.DataFrame, of: str = "", **keys: object) -> object:
    """A quantity of these rows, of both families where they have two."""
    pair = Pair(*sorted(rows["family"].unique())) if "family" in rows and rows["family"].nunique() == 2 else Pair()
    return QUANTITIES[name](Sample(rows, pair=pair, **keys), of)  # type: ignore[arg-type]


def test_the_mean_has_students_interval_over_runs() -> None:
    one = measure("run_mean", table(**{COLUMN: [1.0, 2.0, 3.0]}), COLUMN)
    assert one.value == 2.0
    assert (one.low, one.high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


def test_a_column_less_another_is_taken_in_each_run() -> None:
    rows = table(**{COLUMN: [3.0, 5.0], "probe.x.null": [1.0, 3.5]})
    assert measure("run_mean", rows, COLUMN, less="probe.x.null").value == pytest.approx(1.75)


def test_the_geometric_mean_and_its_interval_are_those_of_the_logarithm() -> None:
    one = measure("geometric_mean", table(**{COLUMN: [0.1, 10.0]}), COLUMN)
    assert one.value == pytest.approx(1.0)
    assert one.low * one.high == pytest.approx(1.0)
    with pytest.raises(NotIdentified, match="not above 0 in 1 run"):
        measure("geometric_mean", table(**{COLUMN: [0.0, 10.0]}), COLUMN)


def test_the_marks_of_a_run_make_one_number() -> None:
    rows = table(run_id=["a", "a", "a", "b", "b", "b"], mark=[1, 2, 3] * 2, seed=0, **{COLUMN: [1, 4, 2, 3, 3, 3.0]})
    numbers = {marks: list(of_runs(rows, COLUMN, marks)["value"]) for marks in ("mean", "last", "first", "drop")}
    assert numbers["last"] == [2.0, 3.0]
    assert numbers["first"] == [1.0, 3.0]
    assert numbers["drop"] == [2.0, 0.0]
    assert numbers["mean"] == pytest.approx([7 / 3, 3.0])
    with pytest.raises(Untested, match="several marks"):
        of_runs(rows[rows["mark"] == 1], COLUMN, "drop")


def test_a_share_has_the_exact_binomial_interval() -> None:
    rows = table(**{COLUMN: [1.0] * 20})
    one = measure("share_above", rows, COLUMN, threshold=0.5)
    assert (one.value, one.high) == (1.0, 1.0)
    assert one.low == pytest.approx(0.025 ** (1 / 20))  # all of n: the n-th root of half of 5 %
    assert measure("share_above", rows, COLUMN, threshold=1.0).value == 0.0


def test_a_slope_is_exact_within_cells_whatever_their_levels() -> None:
    width, depth = np.array([8, 16, 32, 8, 16, 32]), np.array([1, 1, 1, 2, 2, 2])
    rows = table(width=width, depth=depth, seed=0, **{COLUMN: depth * 10.0 * width**-0.5})
    one = measure("log_slope", rows, COLUMN, against="width")
    assert one.value == pytest.approx(-0.5)
    assert (one.low, one.high) == pytest.approx((-0.5, -0.5))
    flat = measure("slope", rows.assign(**{COLUMN: 3 * depth + 2 * np.log(width)}), COLUMN, against="width")
    assert flat.value == pytest.approx(2.0)


def test_a_slope_along_the_marks_of_a_run_has_the_run_as_its_unit() -> None:
    D = np.array([1e3, 1e4, 1e5] * 2)
    rows = table(run_id=["a"] * 3 + ["b"] * 3, mark=[1, 2, 3] * 2, D=D, seed=[0] * 3 + [1] * 3)
    rows[COLUMN] = np.where(rows["run_id"] == "a", D**-0.2, D**-0.4)
    one = measure("log_slope", rows, COLUMN, against="D")
    assert one.value == pytest.approx(-0.3)
    assert one.high - one.value == pytest.approx(12.7062 * 0.1, rel=1e-4)  # t of one degree of freedom


def test_the_difference_is_of_pairs_that_share_seed_and_size() -> None:
    noise = [0.0, 5.0, -3.0]  # of a seed, which both families share
    rows = two_families([1 + e for e in noise], noise)
    one = measure("difference", rows, COLUMN)
    assert (one.value, one.se, one.df) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12), 2)
    apart = rows.assign(seed=range(6))
    assert measure("difference", apart, COLUMN).se == pytest.approx(math.hypot(*[np.std(noise, ddof=1) / 3**0.5] * 2))


def test_the_ratio_of_means_has_the_interval_of_fieller() -> None:
    exact = measure("ratio", two_families([2.0, 4.0], [1.0, 2.0]), COLUMN)
    assert (exact.value, exact.se) == (2.0, pytest.approx(0.0, abs=1e-12))
    one = measure("ratio", two_families([2.0, 4.0, 6.0], [1.0, 1.0, 1.0]), COLUMN)
    assert one.value == 4.0
    assert one.se == pytest.approx(np.std([2, 4, 6], ddof=1) / math.sqrt(3))  # over a constant it is that of the mean
    low, high = one.interval(0.95)
    assert (low, high) == (pytest.approx(4 - 4.303 * one.se, abs=1e-3), pytest.approx(4 + 4.303 * one.se, abs=1e-3))
    # r is in the interval exactly where the mean of one - r other is not told from 0 by Student's t
    top, bottom = np.array([0.30, 0.05, 0.12]), np.array([1.4, 0.7, 1.2])
    ratio = measure("ratio", two_families(top, bottom), COLUMN)
    for end in ratio.interval(0.95):
        rest = top - end * bottom
        assert abs(rest.mean()) == pytest.approx(4.3027 * np.std(rest, ddof=1) / math.sqrt(3), rel=1e-4)
    # a denominator that is not told from 0 leaves the ratio without an interval
    assert measure("ratio", two_families([1.0, 2.0, 3.0], [1.0, -0.9, 0.8]), COLUMN).interval(0.95) == (None, None)
    with pytest.raises(NotIdentified, match="is 0 for mlp"):
        measure("ratio", two_families([2.0, 4.0], [1.0, -1.0]), COLUMN)


def test_runs_of_sizes_that_both_have_are_paired_by_them() -> None:
    rows = two_families([1.0, 2.0], [10.0, 20.0]).assign(width=[8, 16, 8, 16], seed=0, value=[1.0, 2.0, 10.0, 20.0])
    both = pairs(rows[rows["family"] == "lstm"], rows[rows["family"] == "mlp"], ("family",))
    assert list(both["one"]) == [2.0, 1.0] or list(both["one"]) == [1.0, 2.0]
    assert list(both["two"] / both["one"]) == [10.0, 10.0]


def test_a_partial_correlation_ignores_what_the_cells_do() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    cell = np.repeat([0.0, 100.0], 20)
    rows = table(**{COLUMN: x + cell, "gap": -x + cell, "recipe.weight_decay": cell})
    one = measure("correlation", rows, COLUMN, against="gap")
    assert one.value == pytest.approx(-1.0)
    assert "2 cells" in one.reason
    weak = measure("correlation", rows.assign(gap=rng.normal(size=40)), COLUMN, against="gap")
    assert weak.low < weak.value < weak.high
    assert math.atanh(weak.high) - math.atanh(weak.value) == pytest.approx(1.959964 / math.sqrt(40 - 2 - 2))


def test_welch_is_the_pooled_error_of_two_alike() -> None:
    assert welch([(3.0, 4), (4.0, 4)]) == (5.0, pytest.approx(625 / (81 / 4 + 256 / 4)))
    assert math.isnan(welch([(math.nan, 0), (4.0, 4)])[0])


@pytest.mark.parametrize(
    ("y", "goal", "falls", "at"),
    [
        ([4.0, 1.0], 2.0, True, (0.5, "")),  # straight in logarithms
        ([4.0, 3.0], 2.0, True, (1.0, "least")),
        ([1.0, 0.5], 2.0, True, (0.0, "most")),
        ([0.0, 1.0], 0.25, False, (0.25, "")),  # straight where it is 0 somewhere
    ],
)
def test_a_curve_reaches_a_value_or_bounds_where(y: list[float], goal: float, falls: bool, at: tuple) -> None:
    value, bound = first_reach(np.array([0.0, 1.0]), np.array(y), goal, falls)
    assert (value, bound) == (pytest.approx(at[0]), at[1])


def curves(exponent: float, prices: dict[str, float], seeds: int = 2) -> pd.DataFrame:
    """Losses that come to 1 at a known D, in each family."""
    rows = []
    for family, D_1 in prices.items():
        for seed in range(seeds):
            for D in np.geomspace(1e3, 1e6, 7):
                rows.append({"family": family, "seed": seed, "D": D, "budget.D": D, "L": (D / D_1) ** -exponent})
    frame = pd.DataFrame(rows)
    return frame.assign(run_id=[f"r{i}" for i in frame.index], status="ok", C=frame["D"], N=1e4)


def test_the_price_of_a_loss_and_its_ratio_are_exact_on_power_laws() -> None:
    rows = curves(0.5, {"lstm": 2e4, "mlp": 1e5})
    price = measure("reach", rows[rows["family"] == "lstm"], axis="D", reach={"L": 1.0})
    assert price.value == pytest.approx(2e4)
    ratio = measure("reach_ratio", rows, axis="D", reach={"L": 1.0})
    assert ratio.value == pytest.approx(math.log(0.2))
    assert ratio.bound == ""


def test_a_curve_that_never_gets_there_bounds_the_ratio() -> None:
    rows = curves(0.5, {"lstm": 2e4, "mlp": 1e8})
    ratio = measure("reach_ratio", rows, axis="D", reach={"L": 1.0})
    low, high = ratio.interval(0.95)
    assert low is None
    assert high == pytest.approx(math.log(2e4 / 1e6))  # the mlp needs at least what was tried
    with pytest.raises(NotIdentified, match="neither group"):
        measure("reach_ratio", curves(0.5, {"lstm": 1e8, "mlp": 1e9}), axis="D", reach={"L": 1.0})


def test_the_exponent_of_a_price_is_exact_on_power_laws() -> None:
    parts = [
        curves(0.5, {"lstm": 1e3 * L, "mlp": 2e4}).assign(seq_len=L, run_id=lambda t, L=L: t["run_id"] + f"-{L}")
        for L in (4, 8, 16)
    ]
    rows = pd.concat(parts, ignore_index=True)
    keys = {"axis": "D", "reach": {"L": 1.0}, "against": "seq_len"}
    grows = measure("reach_slope", rows[rows["family"] == "lstm"], **keys)
    assert grows.value == pytest.approx(1.0)
    assert measure("reach_slope", rows[rows["family"] == "mlp"], **keys).value == pytest.approx(0.0, abs=1e-9)
    assert measure("reach_slope_difference", rows, **keys).value == pytest.approx(1.0)


def test_losses_at_equal_size_are_interpolated_over_the_shared_range() -> None:
    rows = []
    for family, shift, sizes in (("lstm", 0.1, (1e3, 1e4, 1e5)), ("mlp", 0.0, (3e3, 3e4, 3e5))):
        for seed in range(3):
            for N in sizes:
                L = 2 * N**-0.2 * math.exp(shift + 0.01 * seed)
                rows.append({"family": family, "seed": seed, "N": N, "width": N, "L": L, "status": "ok"})
    frame = pd.DataFrame(rows).assign(run_id=[f"r{i}" for i in range(len(rows))])
    one = measure("loss_at_equal", frame, axis="N")
    assert one.value == pytest.approx(0.1)
    assert (one.se, one.df) == (pytest.approx(0.0, abs=1e-12), 2)
    two = frame.assign(other=frame["L"] * np.where(frame["family"] == "lstm", 1.02, 1.0))
    assert measure("column_at_equal", two, "other", axis="L").value == pytest.approx(math.log(1.02), rel=1e-2)
    apart = frame[(frame["family"] == "lstm") | (frame["N"] > 2e5)]
    with pytest.raises(Untested, match="share no range of N"):
        measure("loss_at_equal", apart, axis="N")


def test_the_window_of_rates_is_that_of_a_parabola() -> None:
    x = np.arange(-5.0, 0.01, 0.01)
    wide, inside = _window(x, math.log1p(0.01) * ((x + 2.5) / 0.75) ** 2)
    assert (wide, inside) == (pytest.approx(1.5, rel=1e-3), True)
    assert _window(np.array([-2.0, -1.0, 0.0]), np.array([0.0, 1.0, 2.0])) == (pytest.approx(math.log1p(0.01)), False)


def test_a_window_that_is_open_has_no_upper_bound() -> None:
    lr = [1e-3, 1e-2, 1e-1] * 2
    inside = table(lr=lr, seed=[0] * 3 + [1] * 3, L=[2.1, 2.0, 2.1] * 2)
    one = measure("rate_window", inside)
    assert one.value == pytest.approx(2 * math.log1p(0.01) / math.log(2.1 / 2.0))
    assert one.high is not None
    assert measure("rate_window", inside.assign(L=[2.0, 2.0, 2.1] * 2)).high is None


def normalised_curves(spread: float, noise: float) -> pd.DataFrame:
    """Losses over marks with a floor of 1, which differ by size by `spread` and by seed by `noise`, in logarithms."""
    rows = []
    for size, off in zip((1e3, 1e4, 1e5, 1e6), (-1.0, 1.0, -1.0, 1.0), strict=True):
        for seed, more in enumerate((-1.0, 1.0)):
            for mark, x in enumerate((0.3, 0.6, 0.9, 1.0), start=1):
                y = x**-0.2 * math.exp((spread * off + noise * more) * (x < 1))
                row = {"run_id": f"{size}-{seed}", "N": size, "seed": seed, "mark": mark, "C": 6 * size**2 * x}
                rows.append(row | {"L": 1 + y, "floor": 1.0, "status": "ok"})
    return pd.DataFrame(rows)


def test_curves_collapse_where_they_are_one_up_to_their_seeds() -> None:
    one = measure("collapse", normalised_curves(0.0, 0.01))
    assert one.value == pytest.approx(0.0, abs=1e-12)
    assert one.seed_sd == pytest.approx(0.01 * math.sqrt(2))
    apart = measure("collapse", normalised_curves(0.1, 0.01))
    assert apart.value == pytest.approx(0.1 * math.sqrt(4 / 3))
    assert apart.low < apart.value < apart.high


def test_derived_columns_are_functions_of_their_sources() -> None:
    rows = table(L=[2.0, 3.0], L_train=[1.5, 2.0], floor=[1.0, 0.0], flops_per_target=[6e3, 6e4], N=1e3, D=1e4)
    more = with_derived(as_runs(rows), ["gap", "excess", "L_over_floor", "reuse", "D_per_N", "ln_L", "nothing"])
    assert list(more["gap"]) == [0.5, 1.0]
    assert list(more["excess"]) == [1.0, 3.0]
    assert more["L_over_floor"].tolist()[0] == 2.0
    assert math.isnan(more["L_over_floor"].tolist()[1])
    assert list(more["reuse"]) == [1.0, 10.0]
    assert list(more["D_per_N"]) == [10.0, 10.0]
    assert "nothing" not in more


def test_losses_at_equal_compute_are_those_of_the_envelope_where_data_vary_too() -> None:
    rows = []
    for family, shift in (("lstm", 0.1), ("mlp", 0.0)):
        for seed in range(2):
            for N in (1e3, 1e4):
                for D in (1e4, 1e5, 1e6):
                    # the larger size wastes half of its compute at little data: it lies above the envelope
                    L = 2 * (6 * N * D) ** -0.1 * math.exp(shift + (0.5 if (N, D) == (1e4, 1e4) else 0.0))
                    rows.append({"family": family, "seed": seed, "N": N, "width": N, "D": D, "C": 6 * N * D, "L": L})
    frame = pd.DataFrame(rows).assign(run_id=[f"r{i}" for i in range(len(rows))], status="ok")
    one = measure("loss_at_equal", frame, axis="C")
    assert one.value == pytest.approx(0.1)
    worse = frame["L"].where((frame["family"] == "mlp") | (frame["N"] < 1e4) | (frame["D"] > 1e4), frame["L"] * 3)
    assert measure("loss_at_equal", frame.assign(L=worse), axis="C").value == pytest.approx(0.1, abs=0.05)


def test_losses_at_equal_size_are_of_one_amount_of_data_each() -> None:
    rows = []
    for family, shift in (("lstm", 0.1), ("mlp", 0.0)):
        for seed in range(2):
            for N in (1e3, 1e4, 1e5):
                for D in (1e5, 1e6) if family == "mlp" or N > 2e3 else (1e6,):
                    L = 2 * N**-0.1 * D**-0.2 * math.exp(shift)
                    rows.append({"family": family, "seed": seed, "N": N, "width": N, "D": D, "budget.D": D, "L": L})
    frame = pd.DataFrame(rows).assign(run_id=[f"r{i}" for i in range(len(rows))], status="ok")
    one = measure("loss_at_equal", frame, axis="N")
    assert (one.value, one.df) == (pytest.approx(0.1), 1)  # the seed is the unit, not each of its curves


def test_laws_of_two_families_are_compared_at_equal_data_whatever_their_compute() -> None:
    table = grid_study(("lstm", "transformer"))
    dearer = table["family"] == "transformer"
    table.loc[dearer, ["flops_per_target", "C"]] *= 3
    sample = Sample(table, "chinchilla", pair=Pair("lstm", "transformer"))
    contrast = QUANTITIES["law_contrast"](sample, "E")
    assert contrast.value == pytest.approx(0.1, abs=0.03)  # E is .9 and .8
    other = Sample(table.assign(rung=table["rung"] + table["family"]), "chinchilla", pair=Pair("lstm", "transformer"))
    alone = QUANTITIES["law_contrast"](other, "E")
    assert alone.value == pytest.approx(contrast.value, rel=1e-6)
    one, two = (fit(table[table["family"] == name]).optimum for name in ("lstm", "transformer"))
    errors = [float(each.spread.error(each.draws["E"])) for each in (one, two)]
    assert alone.se == pytest.approx(math.hypot(*errors), rel=1e-3)
    assert "unpaired" in alone.reason


def test_a_contrast_whose_error_hangs_on_one_pair_of_runs_is_not_identified() -> None:
    table = grid_study(("lstm", "transformer"))
    one, two = both_fits(Sample(table, "chinchilla", pair=Pair("lstm", "transformer")))
    assert contrast((one, two), lambda **p: p["alpha"], "alpha").df > 2
    hanging = replace(two, optimum=replace(two.optimum, spread=replace(two.optimum.spread, dof=1.0)))
    with pytest.raises(NotIdentified, match=r"the error of alpha depends on one of .* pairs of runs.*add runs of both"):
        contrast((one, hanging), lambda **p: p["alpha"], "alpha")


def test_laws_at_a_bound_differ_by_no_more_than_their_pairs_do() -> None:
    rng = np.random.default_rng(2)
    N, D = (x.ravel() for x in np.meshgrid([1e5, 3e5, 1e6], [1e7, 3e7, 1e8]))
    parts = []
    for family, B in (("lstm", 60.0), ("mlp", 50.0)):
        L = (0.05 + 30 * N**-0.3 + B * D**-0.25) * np.exp(0.01 * rng.normal(size=9))
        parts.append(pd.DataFrame({"family": family, "rung": range(9), "data": "text", "N": N, "D": D, "L": L}))
    frame = pd.concat(parts, ignore_index=True).assign(C=lambda t: 6 * t["N"] * t["D"], seed=0)
    rows = frame.assign(run_id=[f"r{i}" for i in range(len(frame))], status="ok")
    laws = [fit(rows[rows["family"] == name], "chinchilla") for name in ("lstm", "mlp")]
    assert "at_bound" in {law.status for law in laws}
    point = {"N": 3e5, "D": 3e7}
    contrast = measure("local_contrast", rows, "local_exponent_D", law="chinchilla", point=point)
    # over 40 such tables the difference has a standard deviation of .0068, and the median of their jackknives is .078
    assert contrast.se == pytest.approx(0.007, rel=0.5)
    assert "weighed at random" in contrast.reason


def test_a_loss_on_another_held_out_set_is_read_on_one_text() -> None:
    rows = table(**{"L.docs": [1.0, 1.1, 9.0], "data.content.docs": ["a", "a", "b"]})
    rule = Rule("law_parameter", Region(above=0), of=("alpha",))
    (docs,) = scope(rows, replace(rule, law="loss_to_loss", target="L.docs")).values()
    assert list(docs["L.docs"]) == [1.0, 1.1]
    (every,) = scope(rows, replace(rule, law="chinchilla")).values()
    assert len(every) == 3


def test_a_law_of_data_alone_is_not_judged_on_several_sizes() -> None:
    rows = grid_study(["lstm"])
    with pytest.raises(Untested, match=r"the runs stand at \d N, which power_offset\(D\) does not distinguish"):
        measure("law_parameter", rows, "alpha", law="power_offset(D)")
    one_size = rows[rows["N"] == rows["N"].max()]
    assert measure("law_parameter", one_size, "alpha", law="power_offset(D)").value is not None
    ladder = rows.assign(D=20 * rows["N"], L=1.5 + 50 * rows["N"] ** -0.3)
    assert measure("law_parameter", ladder, "alpha", law="power_offset(D)").value == pytest.approx(0.3, abs=0.01)
