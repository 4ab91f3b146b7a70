"""Claims of parts, of pairs of values and of groups: a verdict of each kind, and what is refused when it is read."""

import math
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from isoflop import record
from isoflop.analysis.claims.claim import FOLDER, Claim, load_claims, read_claim
from isoflop.analysis.claims.judge import judge
from isoflop.analysis.claims.planned.power import power, refusal
from isoflop.analysis.claims.quantities.cells import DERIVED, choices
from isoflop.analysis.claims.region import Region, VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.subjects import scope
from isoflop.analysis.laws.declare import get_law
from isoflop.errors import UserError

SHIPPED = load_claims()
CONF = FOLDER.parent
BOTH = """
id: mine
claim: One falls and the other does not.
of: probe.x.slope
all:
  - name: falls
    where: family = 'transformer'
    quantity: run_mean
    region: {below: -0.5}
  - name: is flat
    where: family = 'lstm'
    quantity: run_mean
    region: {near: 0, within: 0.5}
"""
PAIR = """
id: mine
claim: The first is lower.
compare: {family.positions: [alibi, rotary]}
quantity: difference
of: probe.x.slope
region: {below: 0}
"""
MEAN = """
id: mine
claim: It rises.
quantity: run_mean
of: probe.x.slope
region: {above: 0}
"""
INTERACTION = """
id: mine
claim: The order gains for one and not for the other.
compare: {family: [cnn, mlp], data.permuted: [false, true]}
quantity: difference
of: L
region: {below: -0.1}
"""


def write(folder: Path, text: str) -> Path:
    """One claim in a file of its own."""
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def runs(groups: Mapping[tuple[Any, ...], float], names: tuple[str, ...], column: str, seeds: int = 4) -> pd.DataFrame:
    """Runs of several seeds in each group, which differ in the named columns and in the mean of one column."""
    noise = np.random.default_rng(0).normal(0, 0.01, (len(groups), seeds))
    rows = [
        dict(zip(names, group, strict=True)) | {"seed": seed, column: mean + noise[at, seed]}
        for at, (group, mean) in enumerate(groups.items())
        for seed in range(seeds)
    ]
    frame = pd.DataFrame(rows)
    rest = {
        "run_id": [f"r{i}" for i in frame.index],
        "status": "ok",
        "L": 2.0,
        "N": 1e4,
        "D": 1e5,
        "family": "transformer",
    }
    return frame.assign(**{key: value for key, value in rest.items() if key not in frame})


def by_family(falls: float, flat: float) -> pd.DataFrame:
    return runs({("transformer",): falls, ("lstm",): flat}, ("family",), "probe.x.slope")


@pytest.mark.parametrize(
    ("falls", "flat", "verdict"),
    [(-1.0, 0.0, "supported"), (-1.0, 1.0, "refuted"), (0.0, 0.0, "refuted"), (-0.5, 0.0, "inconclusive")],
)
def test_all_parts_must_hold_and_one_refutes(falls: float, flat: float, verdict: str, tmp_path: Path) -> None:
    (one,) = judge(by_family(falls, flat), write(tmp_path, BOTH))
    assert one.verdict == verdict
    assert [str(s.subject) for s in one.subjects] == ["falls: transformer", "is flat: lstm"]


@pytest.mark.parametrize(("falls", "flat", "verdict"), [(0.0, 0.0, "supported"), (0.0, 1.0, "refuted")])
def test_any_part_is_enough(falls: float, flat: float, verdict: str, tmp_path: Path) -> None:
    (one,) = judge(by_family(falls, flat), write(tmp_path, BOTH.replace("all:", "any:")))
    assert one.verdict == verdict


def test_a_part_without_its_runs_leaves_the_claim_untested_and_says_which(tmp_path: Path) -> None:
    rows = by_family(-1.0, 0.0)
    (one,) = judge(rows[rows["family"] == "transformer"], write(tmp_path, BOTH))
    assert one.verdict is VerdictKind.UNTESTED
    assert "is flat: untested (no runs where family = 'lstm')" in one.reason
    assert "falls: supported" in one.reason


def test_a_claim_is_not_identified_where_what_is_given_does_not_hold(tmp_path: Path) -> None:
    given = BOTH.replace("all:\n", "given:\n", 1).replace("  - name: is flat", "all:\n  - name: is flat")
    file = write(tmp_path, given)
    assert judge(by_family(-1.0, 0.0), file)[0].verdict is VerdictKind.SUPPORTED
    (one,) = judge(by_family(0.0, 0.0), file)
    assert one.verdict is VerdictKind.NOT_IDENTIFIED
    assert "asked only where falls holds, which is refuted" in one.reason


def test_what_a_claim_needs_along_the_column_of_at_is_asked_of_all_its_values(tmp_path: Path) -> None:
    text = MEAN + "at: {depth: 56}\nneeds: {seeds: {count: 3, at: {depth: 2}}}\n"
    rows = pd.concat([by_family(side, side).assign(depth=depth) for depth, side in ((20, -1.0), (56, 1.0))])
    rows = rows.assign(run_id=[f"{n:03}" for n in range(len(rows))])
    (one,) = judge(rows, write(tmp_path, text))
    assert one.verdict is VerdictKind.SUPPORTED, one.reason
    (lacking,) = judge(rows[rows["depth"] == 56], tmp_path)
    assert lacking.verdict is VerdictKind.UNTESTED


def test_a_negated_rule_is_supported_where_it_would_be_refuted(tmp_path: Path) -> None:
    text = MEAN.replace("{above: 0}", "{below: -0.5}") + "negated: true\n"
    rows = by_family(0.0, 0.0)
    assert judge(rows, write(tmp_path, text))[0].verdict is VerdictKind.SUPPORTED
    assert judge(by_family(-1.0, 0.0), tmp_path)[0].verdict is VerdictKind.REFUTED
    assert "NOT so" in str(read_claim(tmp_path / "mine.yaml").rule)


@pytest.mark.parametrize(
    ("alibi", "rotary", "verdict"),
    [(-1.0, 0.0, "supported"), (0.0, -1.0, "refuted"), (0.0, 0.0, "inconclusive")],
)
def test_two_values_of_a_column_are_compared_in_their_order(
    alibi: float, rotary: float, verdict: str, tmp_path: Path
) -> None:
    rows = runs({("alibi",): alibi, ("rotary",): rotary}, ("family.positions",), "probe.x.slope")
    (one,) = judge(rows, write(tmp_path, PAIR))
    assert one.verdict == verdict
    assert str(one.subject) == "transformer: alibi − rotary"


def test_needs_of_the_compared_column_are_asked_of_both_sides_together(tmp_path: Path) -> None:
    rows = runs({(56,): -1.0, (20,): 0.0}, ("depth",), "probe.x.slope")
    claim = PAIR.replace("family.positions: [alibi, rotary]", "depth: [56, 20]")
    (one,) = judge(rows, write(tmp_path, claim + "needs: {seeds: {count: 2, at: {depth: 2}}}\n"))
    assert one.verdict == "supported"
    (lacking,) = judge(rows, write(tmp_path, claim + "needs: {seeds: {count: 2, at: {depth: 3}}}\n"))
    assert lacking.verdict == "untested"


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ("[true, false]", (True, False)),
        ("[2, 8]", (2, 8)),
        ("[smallest, largest]", (2, 8)),
        ("[null, wide]", (None, "wide")),
    ],
)
def test_a_value_may_be_a_number_a_word_true_or_null(values: str, cells: tuple[Any, Any], tmp_path: Path) -> None:
    rows = runs({(cells[0],): -1.0, (cells[1],): 0.0}, ("family.knob",), "probe.x.slope")
    text = PAIR.replace("family.positions: [alibi, rotary]", f"family.knob: {values}")
    rows.to_csv(tmp_path / "runs.csv", index=False)
    for table in (rows, tmp_path / "runs.csv"):
        assert judge(table, write(tmp_path, text))[0].verdict is VerdictKind.SUPPORTED


def test_values_that_are_not_side_by_side_are_untested(tmp_path: Path) -> None:
    rows = runs({("rotary",): 0.0}, ("family.positions",), "probe.x.slope")
    (one,) = judge(rows, write(tmp_path, PAIR))
    assert one.verdict is VerdictKind.UNTESTED
    assert "family.positions = alibi and rotary side by side" in one.reason


def test_the_ends_of_one_value_are_not_compared_with_themselves(tmp_path: Path) -> None:
    rows = runs({("a", 8): 0.0, ("b", 8): 1.0}, ("family", "depth"), "probe.x.slope")
    text = PAIR.replace("family.positions: [alibi, rotary]", "depth: [largest, smallest]")
    (one,) = judge(rows, write(tmp_path, text))
    assert one.verdict is VerdictKind.UNTESTED
    assert "depth=largest and depth=smallest are the same runs" in one.reason
    assert one.statistic is None


def test_two_columns_make_an_interaction(tmp_path: Path) -> None:
    cells = {("cnn", False): 1.0, ("mlp", False): 1.5, ("cnn", True): 1.6, ("mlp", True): 1.5}
    rows = runs(cells, ("family", "data.permuted"), "L")
    (one,) = judge(rows, write(tmp_path, INTERACTION))
    assert one.verdict is VerdictKind.SUPPORTED
    assert one.statistic == pytest.approx(-0.6, abs=0.05)
    same = runs({**cells, ("cnn", True): 1.0}, ("family", "data.permuted"), "L")
    assert judge(same, tmp_path)[0].verdict is VerdictKind.REFUTED


def test_laws_of_two_values_are_paired_though_the_rung_names_them(tmp_path: Path) -> None:
    text = PAIR.replace("difference", "law_contrast").replace("of: probe.x.slope", "of: alpha\nlaw: power(D)")
    rows = []
    for positions, alpha in (("alibi", 0.3), ("rotary", 0.2)):
        for D in np.geomspace(1e4, 1e6, 5):
            rung = f"budget.D={D:.12g} family.positions={positions} family.width=8"
            rows.append({"family.positions": positions, "D": D, "L": 9 * D**-alpha, "rung": rung})
    frame = pd.DataFrame(rows).assign(data="text", seed=0, family="transformer", N=1e4, C=lambda t: t["D"] * 6e4)
    frame = frame.assign(run_id=[f"r{i}" for i in frame.index], L=frame["L"] * (1 + 0.001 * np.sin(frame.index**2.0)))
    (one,) = judge(frame, write(tmp_path, text.replace("below: 0", "above: 0.02")))
    assert one.verdict is VerdictKind.SUPPORTED
    assert one.statistic == pytest.approx(0.1, abs=0.01)


def test_groups_are_those_of_any_column(tmp_path: Path) -> None:
    text = MEAN + "by: [family.activation]\n"
    rows = runs({("tanh",): 1.0, ("relu",): -1.0}, ("family.activation",), "probe.x.slope")
    (one,) = judge(rows, write(tmp_path, text))
    assert {str(s.subject): s.verdict.value for s in one.subjects} == {"relu": "refuted", "tanh": "supported"}


def test_a_law_of_any_column_is_fitted_to_it(tmp_path: Path) -> None:
    text = "id: mine\nclaim: A half.\nquantity: law_parameter\nlaw: power(D)\ntarget: probe.x.slope\nof: alpha\n"
    D = np.geomspace(1e3, 1e6, 8)
    rows = pd.DataFrame({"D": D, "L": 2.0, "probe.x.slope": D**-0.5 * (1 + 0.001 * np.cos(D)), "run_id": [*"abcdefgh"]})
    (one,) = judge(rows, write(tmp_path, text + "region: {near: 0.5, within: 0.03}\n"))
    assert one.verdict is VerdictKind.SUPPORTED
    assert "probe.x.slope ~ power(D)" in one.to_json()["rule"]


def test_a_claim_that_no_runs_can_decide_says_why(tmp_path: Path) -> None:
    file = write(tmp_path, "id: mine\nclaim: They are one.\nuntestable: no measurement would differ\n")
    (one,) = judge(by_family(0.0, 0.0), file)
    assert one.verdict is VerdictKind.UNTESTED
    assert one.reason == "not testable as stated: no measurement would differ"
    assert power(by_family(0.0, 0.0), read_claim(file))[0].decided is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            BOTH.replace("quantity: run_mean", "quantity: run_men", 1),
            "all[1]: unknown quantity 'run_men'; did you mean run_mean?",
        ),
        (BOTH.replace("name: is flat", "name: falls"), "two rules are called falls"),
        (BOTH.replace("    region: {below: -0.5}\n", ""), "all[1]: the key region is missing"),
        (BOTH.replace("all:\n", "all: 3\nany:\n"), "all and any are both given"),
        (BOTH.replace("all:", "given: 3\nall:"), "given=3 must be a list of rules"),
        (BOTH.replace("    where: family = 'lstm'", "    were: family = 'lstm'"), "did you mean where?"),
        (PAIR.replace("[alibi, rotary]", "[alibi]"), "compare.family.positions=['alibi'] must be a list of 2, each"),
        (PAIR.replace("[alibi, rotary]", "[alibi, alibi]"), "must be two different values"),
        (PAIR.replace("quantity: difference", "quantity: run_mean"), "compare needs a quantity of a pair"),
        (
            PAIR.replace("compare: {family.positions: [alibi, rotary]}\n", ""),
            "which of the two is subtracted from the other",
        ),
        (PAIR + "by: [family.positions]\n", "by and compare both name family.positions"),
        (PAIR + "marks: lowest\n", "unknown marks 'lowest'; did you mean last? choose one of mean, last, first, drop"),
        (PAIR + "target: probe.x\n", "give the law too"),
        (PAIR + "noise: -1\n", "noise=-1 must be a number of at least 0"),
        (PAIR + "effect: large\n", "effect='large' must be a number"),
        (PAIR + "negated: perhaps\n", "negated='perhaps' must be true or false"),
        (PAIR.replace("quantity: difference", "quantity: reach_slope_difference"), "needs the key axis"),
        (PAIR + "reach: {L: 1}\n", "quantity=difference takes no reach"),
        ("id: mine\nclaim: No.\nuntestable: why\nquantity: run_mean\n", "leave out quantity"),
    ],
)
def test_a_claim_that_cannot_be_right_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_claims(tmp_path)
    assert str(file) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def knobs() -> set[str]:
    """The dotted columns that the yamls of conf/ give the record."""
    names = set()
    for room in ("family", "data", "recipe"):
        for file in (CONF / room).glob("*.yaml"):
            node = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            names |= {f"{room}.{key}" for key in node if not str(key).startswith("_")}
    return names


def probe_keys() -> dict[str, tuple[str, ...]]:
    """Of every probe of conf/ the keys of its scalars, as its source declares them."""
    import ast

    keys = {}
    for file in (CONF / "probe").glob("*.yaml"):
        source = (CONF.parent / "scaling/probes" / file.name).with_suffix(".py").read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "keys" and node.value:
                keys[file.stem] = ast.literal_eval(node.value)
    return keys


@pytest.mark.parametrize("claim", SHIPPED, ids=lambda claim: claim.id)
def test_a_claim_that_ships_names_columns_that_runs_can_have(claim: Claim) -> None:
    known, keys = {*record.COLUMNS, *DERIVED, *knobs(), "metric.accuracy"}, probe_keys()
    for rule in claim.rules:
        for column in rule.columns:
            if column.startswith("probe."):
                _, probe, key = column.split(".")
                assert any(fnmatchcase(key, one) for one in keys[probe]), column
            elif not column.startswith("L."):
                assert column in known, column


def test_h1_to_h37_ship_with_a_rule_each_and_say_what_is_expected() -> None:
    by_id = {claim.id: claim for claim in SHIPPED}
    assert {f"H{number}" for number in range(1, 38)} <= by_id.keys()
    for claim in SHIPPED:
        assert claim.expect, claim.id
        assert bool(claim.untestable) == (claim.id == "H25")
        for rule in claim.rules:
            assert rule.effect is not None, rule.name
            assert rule.noise is not None or rule.quantity in ("share_above", "correlation"), rule.name
            if rule.law:
                get_law(rule.formula)


@pytest.mark.nightly
def test_power_is_the_share_of_drawn_studies_that_decide() -> None:
    rule = Rule("run_mean", Region(above=0), of=("probe.x.y",), effect=1.0, noise=0.1)
    claim = Claim("x", "Above 0.", rule=rule)
    rows = by_family(0.0, 0.0).drop(columns=["L", "status"])
    (sure,) = power(rows, claim, seconds=math.inf)
    assert sure.decided == 1.0
    assert sure.enough
    assert sure.outcomes == {"supported": sure.studies}
    (vague,) = power(rows, replace(claim, rule=replace(rule, effect=0.0)), seconds=math.inf)
    assert vague.decided == pytest.approx(0.05, abs=0.12)  # at no effect an interval of 95 % misses it as often
    assert not vague.enough
    assert "below 80 %" in str(vague)


def test_power_says_what_planned_runs_lack() -> None:
    rows = by_family(0.0, 0.0).drop(columns=["L", "status"])
    by_id = {claim.id: claim for claim in SHIPPED}
    (one,) = power(rows, by_id["H1"])
    assert one.decided is None
    assert "do not test it: lstm and transformer each have" in str(one)
    (mine,) = power(rows, Claim("x", "y.", rule=Rule("run_mean", Region(above=0), of=("L",))))
    assert "states no effect:" in str(mine)


@pytest.fixture
def few_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 studies that are all to be decided four in five are decided as surely as of 60."""
    monkeypatch.setattr("isoflop.analysis.claims.planned.power.STUDIES", 20)


# claims whose quantity is cheap to draw and to judge, each on the smallest design that its needs allow
@pytest.mark.sample(1)
@pytest.mark.usefixtures("few_studies")
@pytest.mark.parametrize(
    ("name", "groups", "names"),
    [
        ("H4", [("transformer",), ("lstm",)], ("family",)),
        ("H8", [("transformer",), ("ssm",)], ("family",)),
        ("H14", [("tanh_rnn", "normal"), ("lstm", "normal")], ("family", "family.init")),
        ("H20", [("sinusoidal",)], ("family.positions",)),
        ("H37", [("lstm",), ("transformer",), ("s4d",)], ("family",)),
    ],
)
def test_drawn_studies_of_a_claim_have_its_effect(name: str, groups: list[tuple], names: tuple[str, ...]) -> None:
    design = runs(dict.fromkeys(groups, 0.0), names, "x", seeds=6).assign(data="tracking")
    claim = next(claim for claim in SHIPPED if claim.id == name)
    for one in power(design.drop(columns=["L", "status", "x"]), claim, seconds=math.inf):  # so many, however slow
        assert one.studies > 0, one
        assert one.decided is not None
        assert one.decided >= 0.8, one


@pytest.mark.usefixtures("few_studies")
def test_the_spread_of_a_ratio_is_its_own_and_derived_columns_are_there() -> None:
    by_id = {claim.id: claim for claim in SHIPPED}
    names = ("family", "width", "N", "D")
    sizes = [(family, width, width**2, D) for family in ("cnn", "mlp") for width in (8, 16, 32) for D in (1e4, 1e6)]
    rows = runs(dict.fromkeys(sizes, 0.0), names, "x", seeds=3).assign(flops_per_target=6e5)
    planned = rows.drop(columns=["L", "status", "x"])
    (one,) = power(planned, by_id["H13"], seconds=math.inf)
    assert one.decided == 1.0
    assert one.outcomes == {"supported": one.studies}
    (damage,) = power(planned, replace(by_id["H9"], rule=by_id["H9"].rules[2]), seconds=math.inf)
    assert damage.part == "damage grows with the data"
    assert damage.studies > 0, damage


def test_a_study_is_held_against_the_columns_that_its_claims_name() -> None:
    by_id = {claim.id: claim for claim in SHIPPED}
    planned = by_family(0.0, 0.0).drop(columns="probe.x.slope")
    assert refusal(by_id["H4"], planned, {"positions": ("slope", "late")}) == ""
    lacking = refusal(by_id["H4"], planned, {"gradients": ("slope",)})
    assert "claim H4 (transformer falls) names the column probe.positions.slope" in lacking
    assert "measured by probe=positions, and they ask for gradients; add it to probe=" in lacking
    assert "probe=positions measures late" in refusal(by_id["H4"], planned, {"positions": ("late",)})
    knob = refusal(by_id["H6"], planned, {})
    assert "names the column family.shared, which its runs will not have: no run has it" in knob


def test_a_law_that_the_design_cannot_identify_is_refused_before_it_is_trained() -> None:
    N = np.geomspace(1e5, 1e7, 6)
    rows = pd.DataFrame({"N": N, "D": 20 * N, "C": 120 * N * N, "family": "lstm", "seed": 0, "lr": 0.1})
    rule = Rule("law_parameter", Region(near=0.3, within=0.1), law="chinchilla", of=("alpha",))
    claim = Claim("x", "y.", rule=rule)
    assert "N and D in proportion in all of its runs" in refusal(claim, rows, {})
    grid = pd.concat([rows, rows.assign(D=rows["D"] * 10)])
    assert refusal(claim, grid, {}) == ""
    of_data = replace(claim, rule=replace(rule, law="power_offset(D)"))
    assert "1 value of D" in refusal(of_data, rows.assign(D=1e6), {})


def test_the_scope_of_a_group_keeps_the_family_as_a_choice() -> None:
    groups = scope(by_family(0.0, 0.0), Rule("run_mean", Region(above=0), of=("L",), by=()))
    assert [*groups] == ["all runs"]
    assert "family" in choices(groups["all runs"].frame)
