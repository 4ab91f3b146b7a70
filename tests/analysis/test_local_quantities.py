"""What runs tell at a point among them: slopes, loss and best split, known where the parameters are not."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import demo_study, grid_study
from synthetic_laws import noiseless

from isoflop.analysis.arguments import Settings
from isoflop.analysis.claims.claim import read_claim
from isoflop.analysis.claims.declare import Pair, Sample
from isoflop.analysis.claims.judge import judge
from isoflop.analysis.claims.quantities import QUANTITIES
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.fitting.fit import Fits, fit
from isoflop.analysis.fitting.local import Space, centre, local_names
from isoflop.analysis.fitting.result import load_fit
from isoflop.analysis.laws.declare import LAWS
from isoflop.analysis.runs.runs import as_runs
from isoflop.analysis.verbs import main
from isoflop.errors import FitError, UserError

TRUTH = {"E": 1.6, "A": 400.0, "alpha": 0.31, "B": 400.0, "beta": 0.29}
# of three nats, all but seven hundredths are E
FLAT = {"E": 3.0, "A": 100.0, "alpha": 0.45, "B": 60.0, "beta": 0.35}


def runs(seed: int, truth: dict[str, float] = TRUTH, noise: float = 0.005) -> pd.DataFrame:
    """Six sizes by six amounts of data, one run each."""
    N, D = (x.ravel() for x in np.meshgrid(1e8 * np.geomspace(0.06, 16, 6), 1e9 * np.geomspace(0.06, 16, 6)))
    L = LAWS["chinchilla"](N, D, **truth)
    return pd.DataFrame({"N": N, "D": D, "L": L * np.exp(noise * np.random.default_rng(seed).standard_normal(36))})


def slope(truth: dict[str, float], at: dict[str, float]) -> float:
    """-d ln L / d ln N of Chinchilla's law."""
    size = truth["A"] * at["N"] ** -truth["alpha"]
    return truth["alpha"] * size / (truth["E"] + size + truth["B"] * at["D"] ** -truth["beta"])


def test_slopes_loss_and_split_are_those_of_the_law() -> None:
    fitted = fit(runs(0, noise=1e-9), loss="l2")
    local = fitted.local()
    assert local.at == pytest.approx({"N": 9.8e7, "D": 9.8e8, "C": 6 * 9.8e7 * 9.8e8}, rel=0.01)
    values = {name: e.value for name, e in local.estimates.items()}
    assert values["local_exponent_N"] == pytest.approx(slope(TRUTH, local.at), rel=1e-6)
    N, D = (LAWS["chinchilla"].curve(name, local.at["C"], TRUTH) for name in ("N_opt", "D_opt"))
    assert values["best_D_per_N"] == pytest.approx(D / N, rel=1e-6)
    # at the best split ln L falls alike with N, with D and along the optimum
    assert local.along == "optimum"
    assert values["local_exponent_C"] == pytest.approx(slope(TRUTH, {"N": N, "D": D}), rel=1e-5)
    assert values["local_loss"] == pytest.approx(LAWS["chinchilla"](local.at["N"], local.at["D"], **TRUTH), rel=1e-6)


def test_the_best_split_is_found_for_a_law_that_has_no_formula_of_it() -> None:
    table, params = noiseless(LAWS["multiplicative"])
    law = LAWS["multiplicative"]
    point = centre(law, table)
    ratio = float(Space(law, table).quantity("best_D_per_N", point, "ray")(**params))
    product = point["N"] * point["D"]
    around = [float(law((product / r) ** 0.5, (product * r) ** 0.5, **params)) for r in ratio * np.array([0.9, 1, 1.1])]
    assert around[1] < min(around[0], around[2])


@pytest.mark.parametrize("name", LAWS)
def test_every_law_has_its_local_quantities(name: str) -> None:
    table, params = noiseless(LAWS[name])
    law = LAWS[name]
    space, point = Space(law, table), centre(law, table)
    with np.errstate(all="ignore"):
        values = {q: float(space.quantity(q, point, "ray")(**params)) for q in local_names(law)}
    assert all(np.isfinite(v) for q, v in values.items() if q != "best_D_per_N"), values
    assert [q for q in values if q.startswith("local_exponent_")][: len(law.columns)] == [
        f"local_exponent_{c}" for c in law.columns
    ]


def test_the_interval_of_a_slope_holds_the_truth_where_the_parameters_have_none() -> None:
    held, unidentified = 0, 0
    for seed in range(25):
        fitted = fit(runs(seed, FLAT), loss="l2")
        local = fitted.local()
        estimate = local.estimates["local_exponent_N"]
        low, high = (np.nan if end is None else end for end in (estimate.low, estimate.high))
        held += low <= slope(FLAT, local.at) <= high
        unidentified += fitted.status == "not_identified"
    assert unidentified >= 5
    assert held >= 20  # of 25 at 95 %: fewer with a chance of 2 in 10,000


def test_a_saved_fit_has_the_same_local_quantities(tmp_path: Path) -> None:
    fitted = fit(runs(0))
    fitted.save(tmp_path / "fit.json")
    assert load_fit(tmp_path / "fit.json").local() == fitted.local()


@pytest.mark.parametrize("rounding", [0.0, 0.03])
def test_one_ratio_tells_the_slope_along_it_and_no_other(rounding: float) -> None:
    draw = np.random.default_rng(3)
    N = np.geomspace(1e7, 1e9, 24)
    D = 20 * N * np.exp(draw.uniform(-rounding, rounding, 24))
    table = pd.DataFrame({"N": N, "D": D, "L": LAWS["chinchilla"](N, D, **TRUTH) * np.exp(draw.normal(0, 0.005, 24))})
    local = fit(table, loss="l2").local()
    assert local.along == "ray"
    for name in ("local_exponent_N", "local_exponent_D", "best_D_per_N"):
        assert local.estimates[name].value is None
        assert "D is 20 N in every row" in local.missing[name]
    along = local.estimates["local_exponent_C"]
    truth = LAWS["chinchilla"](np.array([0.99, 1.01]) * local.at["N"], np.array([0.99, 1.01]) * local.at["D"], **TRUTH)
    slope_there = np.log(truth[0] / truth[1]) / np.log(1.01 / 0.99) / 2
    assert along.value == pytest.approx(slope_there, rel=0.1)
    # on a rounded ladder a refit may creep along its valley for longer than a search goes on: then there is no interval
    assert along.low is None or along.low <= slope_there
    assert along.high is None or slope_there <= along.high
    assert rounding or along.low is not None


def test_a_column_of_a_single_value_has_no_slope() -> None:
    table = runs(0)
    one = table[np.isclose(table["N"], table["N"].iloc[0])]
    local = fit(one, loss="l2").local()
    assert local.estimates["local_exponent_N"].value is None
    assert local.missing["local_exponent_N"] == "N has a single value"


def test_a_law_that_does_not_move_has_no_interval_of_how_the_loss_falls() -> None:
    rising = runs(0).assign(L=lambda t: 3 * t["N"] ** 0.03 * np.exp(0.003 * np.random.default_rng(0).normal(size=36)))
    local = fit(rising, interval="bootstrap").local()
    assert local.estimates["local_exponent_N"].low is None
    assert local.missing["local_exponent_N"] == "L rises with N, which the law does not follow"
    equal = fit(rising.assign(L=2.5)).local()
    assert equal.estimates["local_exponent_D"].high is None
    assert equal.missing["local_exponent_D"] == "no term of D is left in the law"


def test_a_point_is_named_checked_and_said_to_lie_outside() -> None:
    fitted = fit(runs(0), loss="l2")
    assert fitted.local({"N": 1e8}).at["N"] == 1e8
    assert "outside the fitted range" in str(fitted.local({"N": 1e12}))
    with pytest.raises(FitError, match="chinchilla has no column width; a point of it gives N, D"):
        fitted.local({"width": 3.0})
    with pytest.raises(FitError, match="N=-1 is not above 0"):
        fitted.local({"N": -1.0})


def test_fit_shows_local_quantities_by_itself_where_parameters_are_not_identified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for truth, name in ((FLAT, "flat.csv"), (TRUTH, "good.csv")):
        runs(1 if truth is TRUTH else 8, truth).to_csv(tmp_path / name, index=False)
    flat, good = (str(tmp_path / name) for name in ("flat.csv", "good.csv"))
    shown: dict[tuple[str, ...], bool] = {}
    for words in ([flat], [good], [good, "--local"], [good, "--at", "N=1e8"]):
        assert main(["fit", *words, "--loss", "l2"]) == 0
        text = capsys.readouterr().out
        assert main(["fit", *words, "--loss", "l2", "--json"]) == 0
        (document,) = json.loads(capsys.readouterr().out)["fits"]
        assert ("local" in document) == ("local_exponent_N" in text)
        shown[tuple(words[:2])] = "local" in document
    assert list(shown.values()) == [True, False, True, True]
    assert document["local"]["at"]["N"] == 1e8


def write(folder: Path, text: str) -> Path:
    """A claim in a file of its own."""
    (folder / "mine.yaml").write_text(f"id: mine\nclaim: It is so.\nlaw: chinchilla\n{text}\n")
    return folder / "mine.yaml"


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("quantity: local_exponent_N\nregion: {between: [0.03, 0.07]}", "supported"),
        ("quantity: local_exponent_C\npoint: {N: 1e6, D: 1e7}\nregion: {above: 0.1}", "refuted"),
        ("quantity: local_loss\nregion: {below: 1.5}", "supported"),
        ("quantity: best_D_per_N\nregion: {above: 1}", "supported"),
    ],
)
def test_a_claim_may_be_about_a_local_quantity(claim: str, verdict: str, tmp_path: Path) -> None:
    (outcome,) = judge(grid_study(), write(tmp_path, claim))
    assert outcome.verdict == verdict, outcome.reason


def test_families_are_told_apart_by_slopes_where_their_parameters_are_not_identified(tmp_path: Path) -> None:
    truth = {"lstm": (2.5, 2.0, 0.30, 60.0, 0.33), "mlp": (2.5, 8.0, 0.30, 60.0, 0.33)}
    study = demo_study(("lstm", "mlp"), truth=truth, failures=False)
    text = "quantity: {}\nof: {}\nregion: {{contrast: 0.005}}"
    (parameters,) = judge(study, write(tmp_path, text.format("law_contrast", "alpha")))
    assert parameters.verdict is VerdictKind.NOT_IDENTIFIED
    (slopes,) = judge(study, write(tmp_path, text.format("local_contrast", "local_exponent_N")))
    assert slopes.verdict is VerdictKind.SUPPORTED, slopes.reason
    assert " at N=" in slopes.subjects[0].reason


def test_a_slope_that_the_runs_do_not_tell_is_not_identified_in_a_contrast(tmp_path: Path) -> None:
    study = grid_study()
    line = study[np.isclose(study["D"] / study["N"], 10, rtol=0.05)]
    text = "quantity: local_contrast\nof: local_exponent_N\nregion: {contrast: 0.01}"
    (verdict,) = judge(line, write(tmp_path, text))
    assert verdict.verdict is VerdictKind.NOT_IDENTIFIED
    assert verdict.reason


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "quantity: local_exponent_N\npoint: {N: -1}\nregion: {above: 0}",
            "point.N=-1 must be a number above 0; an example is point: {N: 1e8, D: 2e9}",
        ),
        ("quantity: law_parameter\nof: alpha\npoint: {N: 1}\nregion: {above: 0}", "law_parameter takes no point"),
        ("quantity: local_contrast\nof: alpha\nregion: {contrast: 0}", "law chinchilla has no alpha; it has local_exp"),
    ],
)
def test_a_wrong_claim_of_a_local_quantity_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        read_claim(write(tmp_path, text))


def test_a_point_may_be_a_compute() -> None:
    fitted = fit(runs(0, noise=1e-9), loss="l2")
    local = fitted.local({"C": 1e18})
    best = fitted.law.curve("N_opt", 1e18, fitted.values)
    assert local.at["N"] == pytest.approx(best, rel=1e-6)
    assert 6 * local.at["N"] * local.at["D"] == pytest.approx(1e18)
    assert fitted.local({"C": 1e18, "N": 1e8}).at["D"] == pytest.approx(1e18 / 6e8)
    with pytest.raises(FitError, match="give two of the three"):
        fitted.local({"C": 1e18, "N": 1e8, "D": 1e9})


def test_a_difference_that_the_first_marks_make_is_not_robust(tmp_path: Path) -> None:
    truth = {"lstm": (2.5, 2.0, 0.30, 60.0, 0.33), "mlp": (2.5, 2.0, 0.30, 60.0, 0.33)}
    alike = grid_study(("lstm", "mlp"), truth=truth, noise=0.001)
    early = (alike["family"] == "mlp") & (alike["D"] < 3e6)
    steeper = alike.assign(L=alike["L"] * np.where(early, 1.06, 1.0))
    text = "quantity: local_contrast\nof: local_exponent_D\nregion: {{contrast: 0.005}}\n{}"
    robust = text.format('robust: ["D > 3e6"]')
    (bare,) = judge(steeper, write(tmp_path, text.format("")))
    (held,) = judge(steeper, write(tmp_path, robust))
    assert bare.verdict is VerdictKind.SUPPORTED
    assert held.verdict is VerdictKind.INCONCLUSIVE
    assert "not robust: " in held.subjects[0].reason
    assert "where D > 3e6, by " in held.subjects[0].reason
    # a difference of the law itself stays
    truth["mlp"] = (2.5, 2.0, 0.30, 60.0, 0.40)
    (kept,) = judge(grid_study(("lstm", "mlp"), truth=truth, noise=0.001), write(tmp_path, robust))
    assert kept.verdict is VerdictKind.SUPPORTED, kept.reason


def test_paired_runs_are_fitted_by_the_objective_that_is_asked_for() -> None:
    truth = {"lstm": (2.5, 2.0, 0.30, 60.0, 0.33), "mlp": (2.5, 2.0, 0.30, 60.0, 0.40)}
    rows = grid_study(("lstm", "mlp"), truth=truth, noise=0.002)
    values = []
    for settings in (Settings(), Settings(loss="l2")):
        sample = Sample(as_runs(rows), "chinchilla", pair=Pair("lstm", "mlp"), fits=Fits(rows, settings))
        values.append(QUANTITIES["local_contrast"](sample, "local_exponent_D").value)
    assert values[0] != values[1]


def test_under_a_negation_the_direction_is_that_of_the_difference(tmp_path: Path) -> None:
    truth = {"lstm": (2.5, 2.0, 0.30, 60.0, 0.33), "mlp": (2.5, 2.0, 0.30, 60.0, 0.33)}
    alike = grid_study(("lstm", "mlp"), truth=truth, noise=0.001)
    # steeper over all marks, flatter over the later ones
    factor = np.where(alike["D"] < 3e6, 1.25, (alike["D"] / 3e6) ** 0.02)
    bent = alike.assign(L=alike["L"] * np.where(alike["family"] == "mlp", factor, 1.0))
    text = "quantity: local_contrast\nof: local_exponent_D\nregion: {contrast: 0.005}\n{}robust: [D > 3e6]"
    for negated in ("", "negated: true\n"):
        (verdict,) = judge(bent, write(tmp_path, text.replace("{}", negated)))
        assert verdict.verdict is VerdictKind.INCONCLUSIVE, verdict.reason


def test_what_a_condition_leaves_without_runs_is_told(tmp_path: Path) -> None:
    rule = "quantity: local_loss\nregion: {below: 9.0}\nrobust: [\"family = 'mlp'\"]"
    (verdict,) = judge(grid_study(("lstm", "mlp")), write(tmp_path, rule))
    told = {subject.subject.name: subject for subject in verdict.subjects}
    assert told["mlp"].verdict is VerdictKind.SUPPORTED
    assert "untested (it has no runs) where family = 'mlp'" in told["lstm"].reason
    (nowhere,) = judge(grid_study(), write(tmp_path, rule.replace("family = 'mlp'", "nosuch > 5")))
    assert nowhere.verdict is VerdictKind.UNTESTED
    assert nowhere.reason == "robust where nosuch > 5: the runs have no column nosuch"
    with pytest.raises(UserError, match=r"robust\[1\]"):
        judge(grid_study(), write(tmp_path, rule.replace("family = 'mlp'", "D >")))


def test_where_a_term_bends_unseen_the_interval_if_bent_holds_e_and_the_plain_one_does_not() -> None:
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 3e9, 6), np.geomspace(3e8, 1e11, 6)))
    L = 1.69 + 406 * N**-0.34 + 411 * D**-0.28 * (1 + (D / 6e9) ** 2) ** -0.04
    rows = pd.DataFrame({"N": N, "D": D, "L": L * np.exp(0.004 * np.random.default_rng(0).normal(size=36))})
    fitted = fit(rows, loss="l2")
    plain, wide = fitted.local().estimates | fitted.params, fitted.local(bent=True).bent
    truth = {"E": 1.69, "local_exponent_D": 0.0776}
    for name, true in truth.items():
        assert not plain[name].low < true < plain[name].high
        assert wide[name].low < true < wide[name].high
    assert list(wide) == ["E", "local_exponent_C", "local_exponent_D", "local_exponent_N"]
    assert f"if bent    E {wide['E'].interval}: a term may bend unseen" in str(fitted)
    assert fitted.to_json()["bent"]["E"] == vars(wide["E"])
    assert "E" not in fit(rows, loss="l2", pin={"E": 1.69}, prior={"beta": (0.28, 0.01)}).local(bent=True).bent
