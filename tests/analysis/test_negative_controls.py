"""Negative controls: what must not be found is not found, and what is there is."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Rate
from studies import TRUTH, demo_study, grid_study

from isoflop.analysis.claims.claim import FOLDER, Claim, read_claim
from isoflop.analysis.claims.judge import judge_claim
from isoflop.analysis.claims.region import Region
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.verdict import SubjectVerdict

MATCHED = read_claim(FOLDER / "matched-C.yaml")
PREDICTABLE = read_claim(FOLDER / "predictable-D.yaml")
LAW = read_claim(FOLDER / "H3.yaml")
SLOPES = read_claim(FOLDER / "H3-local.yaml")
# a few seeds in the suite, the others nightly
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(3, 10))]
TWINS = {"a": TRUTH["lstm"], "b": TRUTH["lstm"]}


def judged(runs: pd.DataFrame, claim: Claim) -> SubjectVerdict:
    """The verdict on one family, or one pair."""
    (subject,) = judge_claim(runs, claim).subjects
    return subject


def changed(claim: Claim, contrast: float | None = None, **changes: Any) -> Claim:
    """The claim with other keys of its rule, and another band of a contrast."""
    region = claim.only.region if contrast is None else replace(claim.only.region, contrast=contrast, or_seed_sd=0.0)
    return replace(claim, rule=replace(claim.only, **({"region": region} | changes)))


@pytest.mark.nightly
def test_two_names_for_one_generator_are_seldom_called_different(rate: Rate) -> None:
    # a band of 0: what is left is the interval alone. 5 % of 100 give more than 9 with a chance of 3 %, 15 % with 94 %
    bare = changed(MATCHED, contrast=0.0)
    strict = changed(MATCHED, region=replace(MATCHED.only.region, contrast=0.0))
    found = [judged(demo_study(["a", "b"], truth=TWINS, seed=s, failures=False), bare).verdict for s in range(100)]
    rate("twins called different at matched compute, at 5 %", found.count("supported") / 100, 100)
    assert found.count("supported") <= 9
    ruled = [judged(demo_study(["a", "b"], truth=TWINS, seed=s, failures=False), strict).verdict for s in range(25)]
    assert ruled.count("supported") == 0
    assert ruled.count("refuted") >= 22  # and the twins are found to be equivalent


@pytest.mark.nightly
def test_three_names_for_one_generator_are_corrected_for_three_looks(rate: Rate) -> None:
    bare = changed(MATCHED, contrast=0.0)
    triplets = TWINS | {"c": TRUTH["lstm"]}
    found = 0
    for s in range(60):
        verdict = judge_claim(demo_study(["a", "b", "c"], truth=triplets, seed=s, failures=False), bare)
        found += verdict.verdict == "supported"
    rate("triplets called different at matched compute, at 5 %", found / 60, 60)
    assert found <= 7  # 3 expected at 5 %


def test_families_that_differ_are_told_apart() -> None:
    verdict = judge_claim(demo_study(), MATCHED)
    assert verdict.verdict == "supported"
    by_name = {str(s.subject): s for s in verdict.subjects}
    assert by_name["lstm − mlp"].verdict == "supported"
    assert by_name["lstm − mlp"].statistic is not None
    assert by_name["lstm − mlp"].statistic < 0


@pytest.mark.nightly
def test_a_true_law_is_found_predictable_more_often_than_not_and_seldom_refuted(rate: Rate) -> None:
    found = [judged(demo_study(["lstm"], seed=s, failures=False), PREDICTABLE).verdict for s in range(20)]
    rate("true laws found predictable", found.count("supported") / 20, 20)
    assert found.count("supported") >= 12
    assert found.count("refuted") <= 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("jump", [-0.05, 0.05])
def test_a_law_that_breaks_at_the_largest_size_fails_predictable(jump: float, seed: int) -> None:
    runs = demo_study(["lstm"], seed=seed, failures=False)
    runs.loc[runs["D"] == runs.loc[runs["width"] == 32, "D"].max(), "L"] *= np.exp(jump)
    assert judged(runs, PREDICTABLE).verdict == "refuted"


def test_a_law_that_bends_over_the_grid_fails_h1() -> None:
    h1 = read_claim(FOLDER / "H1.yaml")
    assert judge_claim(grid_study(["lstm"], bend=0.05), h1).verdict == "refuted"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_loss_that_hardly_falls_is_not_identified_and_not_called_predictable(seed: int) -> None:
    flat = {"lstm": (2.0, 0.0, 0.3, 0.05, 0.3)}
    runs = demo_study(["lstm"], truth=flat, seed=seed, failures=False)
    assert judged(runs, PREDICTABLE).verdict == "not_identified"


def test_a_parameter_is_not_identified_where_the_reducible_part_drowns_in_noise() -> None:
    region, at = Region(near=0.3, within=0.01, or_seed_sd=2), {"width": "middle"}
    claim = Claim("x", "", rule=Rule("law_parameter", region, law="power_offset(D)", of=("alpha",), at=at))
    flat = {"lstm": (2.0, 0.0, 0.3, 0.05, 0.3)}
    assert judged(demo_study(["lstm"], truth=flat, failures=False), claim).verdict == "not_identified"


@pytest.mark.parametrize("claim", [PREDICTABLE, MATCHED], ids=["predictable", "contrast"])
def test_copied_rows_of_a_run_do_not_narrow_an_interval(claim: Claim) -> None:
    families = ["lstm"] if claim is PREDICTABLE else ["lstm", "mlp"]
    runs = demo_study(families, failures=False)
    once, often = (judged(r, claim) for r in (runs, pd.concat([runs] * 3)))
    assert often.low == pytest.approx(once.low, rel=1e-6)
    assert often.high == pytest.approx(once.high, rel=1e-6)


def test_marks_of_one_run_do_not_count_as_runs() -> None:
    runs = demo_study(["lstm"], failures=False)
    marks = pd.concat([runs, runs.assign(mark=2, D=runs["D"] * 1.001, C=runs["C"] * 1.001)])
    once, often = (judged(r, changed(PREDICTABLE, level=0.9)) for r in (runs, marks))
    assert often.high is not None
    assert once.high is not None
    assert often.high - (often.statistic or 0) > 0.5 * (once.high - (once.statistic or 0))


@pytest.mark.slow
def test_one_exponent_under_two_names_is_not_called_two_and_two_are() -> None:
    claim = changed(LAW, needs=replace(LAW.only.needs, tuned={}), of=("beta",))
    twins = judge_claim(grid_study(["a", "b"], truth=TWINS), claim)
    assert twins.verdict in ("refuted", "inconclusive")
    steeper = TWINS | {"b": (*TRUTH["lstm"][:4], TRUTH["lstm"][4] + 0.08)}
    assert judge_claim(grid_study(["a", "b"], truth=steeper, noise=0.001), claim).verdict == "supported"


@pytest.mark.nightly
def test_slopes_of_one_generator_under_two_names_are_seldom_called_different(rate: Rate) -> None:
    # a band of 0: what is left is the interval alone, and 5 % gives 4 of 12 with a chance of 2 in 1,000
    bare = changed(SLOPES, region=replace(SLOPES.only.region, contrast=0.0), of=("local_exponent_N",))
    studies = [demo_study(["a", "b"], truth=TWINS, seed=s, failures=False) for s in range(12)]
    found = [judged(study, bare).verdict for study in studies].count("supported")
    rate("twins called different by a slope, at 5 %", found / 12, 12)
    assert found <= 3


def test_slopes_that_differ_are_told_apart() -> None:
    steeper = TWINS | {"b": (TRUTH["lstm"][0], 2 * TRUTH["lstm"][1], *TRUTH["lstm"][2:])}
    assert judge_claim(demo_study(["a", "b"], truth=steeper, failures=False), SLOPES).verdict == "supported"


def test_families_are_paired_whichever_rate_is_the_best_of_each() -> None:
    # b has its best loss at another rate than a, and a rung names the rate
    tries, alone = [], []
    for family, best in (("a", 0.01), ("b", 0.02)):
        runs = demo_study([family], truth={"a": TRUTH["lstm"], "b": TRUTH["mlp"]}, failures=False)
        alone.append(runs)
        for lr in (0.005, 0.01, 0.02, 0.04):
            worse = 1 + 0.05 * abs(np.log2(lr / best))
            rung, run_id = runs["rung"] + f" recipe.lr={lr}", runs["run_id"] + f"-{lr}"
            tries.append(runs.assign(lr=lr, L=runs["L"] * worse, rung=rung, run_id=run_id))
    claim = read_claim(FOLDER / "matched-C.v2.yaml")
    verdict = judged(pd.concat(tries, ignore_index=True), claim)
    best = judged(pd.concat(alone, ignore_index=True), MATCHED)
    assert (verdict.verdict, verdict.statistic) == (best.verdict, pytest.approx(best.statistic))


def test_pairs_that_share_a_run_at_either_side_are_one_sample() -> None:
    # marks of three trunks of each family and rate; b is best at another rate from the middle of C on
    runs = demo_study(["a", "b"], truth={"a": TRUTH["lstm"], "b": TRUTH["mlp"]}, failures=False)
    middle = runs[runs["width"] == 32]
    draw = np.random.default_rng(0)
    tries = []
    for seed, lr in itertools.product(range(3), (0.01, 0.02, 0.04)):
        one = middle[middle["seed"] == 0]
        best = np.where((one["family"] == "b") & (one["C"] > one["C"].median()), 0.04, 0.02)
        noise = one["family"].map({family: 0.05 * draw.standard_normal() for family in "ab"})
        L = one["L"] * (1 + 0.5 * abs(np.log2(lr / best))) * np.exp(noise)
        run_id = one["family"] + f"-{seed}-{lr}"
        tries.append(one.assign(seed=seed, lr=lr, L=L, run_id=run_id, mark=range(len(one))))
    table = pd.concat(tries, ignore_index=True).assign(mark=lambda rows: rows["C"].rank(method="dense"))
    claim = replace(MATCHED, rule=read_claim(FOLDER / "matched-C.v2.yaml").only)
    one = judged(table, claim)
    other = judged(table.assign(family=table["family"].map({"a": "z", "b": "b"})), claim)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_a_learning_rate_at_the_edge_of_its_grid_is_not_tuned() -> None:
    rows = grid_study(["lstm"])
    first = rows[(rows["rung"] == "N1 D1") & (rows["seed"] == 0)]

    def searched(losses: tuple[float, float]) -> list[str]:
        tries = [
            first.assign(lr=lr, L=first["L"] * k, run_id=f"lr{lr}") for lr, k in zip((1e-3, 9e-3), losses, strict=True)
        ]
        return LAW.only.needs.missing(pd.concat([rows, *tries]))

    assert searched((1.1, 1.1)) == []
    assert searched((0.9, 1.1)) == ["3 of 3 lr tried at one N (the best must lie inside)"]
