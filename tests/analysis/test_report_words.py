"""What a page says in words: the question of a layout, a finding with its interval, verdicts that a newcomer reads."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from studies import demo_study, isoflop_study

from isoflop.analysis.claims.claim import Claim
from isoflop.analysis.claims.declare import Pair
from isoflop.analysis.claims.region import Region, VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.studies import next_command
from isoflop.analysis.claims.verdict import ClaimSubject, ClaimVerdict, SubjectVerdict
from isoflop.analysis.report.figures import grammar as g
from isoflop.analysis.report.figures.base import Figure, draw_all
from isoflop.analysis.report.finding import finding, of_many, question, tone, word
from isoflop.analysis.report.report import _powers_of, headline
from isoflop.analysis.report.sentences import seed_noise
from isoflop.analysis.report.tables import ledger
from isoflop.analysis.report.view import look


def claim(**region: Any) -> Claim:
    return Claim("x", "They differ.", rule=Rule("loss_contrast", Region(**region), combine="any"))


@pytest.mark.parametrize(
    ("expect", "verdict", "said"),
    [
        ("different", VerdictKind.SUPPORTED, "different"),
        ("different", VerdictKind.REFUTED, "equivalent"),
        ("equivalent", VerdictKind.SUPPORTED, "equivalent"),
        ("equivalent", VerdictKind.REFUTED, "different"),
        ("different", VerdictKind.NOT_IDENTIFIED, "not identified"),
        ("different", VerdictKind.INCONCLUSIVE, "inconclusive"),
    ],
)
def test_a_contrast_is_different_or_equivalent_and_never_refuted(expect: str, verdict: VerdictKind, said: str) -> None:
    stated = claim(contrast=0.01, expect=expect)
    subject = ClaimSubject(Pair("a", "b"))
    numbers = SubjectVerdict(stated.only, subject, verdict, "why", -0.02, -0.03, -0.01)
    outcome = ClaimVerdict(verdict, "why", (numbers,), numbers, claim=stated)
    assert word(outcome, stated) == said
    assert tone(outcome, stated) != "refuted"


def test_the_finding_of_budgets_is_the_exponent_of_the_best_size_with_its_interval() -> None:
    view = look(isoflop_study(["lstm"]), [])
    assert question(view) == "How large should a model be for its compute?"
    a = view.frontiers["lstm"].approaches["isoflop"].a
    expected = f"The best size grows as compute to the power {a.value:.2f} (95 % interval {a.low:.2f} to {a.high:.2f})."
    assert finding(view) == expected


def test_one_axis_is_asked_how_the_loss_falls_along_it() -> None:
    D = np.geomspace(1e6, 1e9, 12)
    noise = np.random.default_rng(0).normal(0, 0.002, 12)
    view = look(pd.DataFrame({"D": D, "L": (2 + 60 * D**-0.3) * np.exp(noise)}), [])
    assert question(view) == "How does the loss fall with data?"
    assert finding(view).startswith("In the middle of these runs each doubling of data lowers the loss by ")
    assert "95 % interval" in finding(view)


def test_runs_that_tell_nothing_are_not_sold() -> None:
    one = look(pd.DataFrame({"N": [1e6], "D": [1e8], "L": [3.0]}), [])
    assert question(one) == "What did these runs reach?"
    assert finding(one).startswith("The lowest loss is 3 nats per target.")
    lost = look(pd.DataFrame({"run_id": ["a"], "status": ["failed"], "N": [1e6], "D": [1e8], "L": [np.nan]}), [])
    assert finding(lost) == "The run did not finish; the ledger says why."


def test_a_claim_that_was_stated_for_the_runs_is_the_finding() -> None:
    runs = demo_study(["lstm", "mlp"], failures=False)
    view = look(runs, [claim(contrast=0.005)])
    (verdict,) = view.verdicts
    assert verdict.verdict is VerdictKind.SUPPORTED
    assert finding(view).startswith("At matched compute the loss is ")
    assert " lower for " in finding(view)
    assert finding(view).endswith("): different. The claim was “They differ”.")


def test_an_open_claim_has_the_command_that_would_decide_it() -> None:
    stated = claim(contrast=0.01)
    untested = ClaimVerdict(VerdictKind.UNTESTED, "", claim=replace(stated, id="H1"))
    assert next_command(untested, None).startswith("isoflop study ")
    assert next_command(ClaimVerdict(VerdictKind.SUPPORTED, "", claim=stated), None) == ""
    rule = Rule("law_parameter", Region(near=1, within=0.1), law="chinchilla", of=("E",))
    command = next_command(
        ClaimVerdict(VerdictKind.INCONCLUSIVE, "", claim=Claim("x", "E.", rule=rule)), Path("my runs.csv")
    )
    assert command == "isoflop plan --improve 5 --runs 'my runs.csv' --law chinchilla -m ..."


def test_the_power_of_an_open_claim_is_that_of_drawn_studies() -> None:
    rule = Rule("run_mean", Region(above=0), of=("L",), effect=1.0, noise=0.1)
    stated = Claim("x", "It is above 0.", rule=rule)
    runs = demo_study(["lstm"], failures=False)
    open_claim = ClaimVerdict(VerdictKind.INCONCLUSIVE, "", claim=stated)
    decided = ClaimVerdict(VerdictKind.SUPPORTED, "", claim=replace(stated, id="y"))
    view: Any = SimpleNamespace(runs=runs, verdicts=(open_claim, decided))
    powers = _powers_of(view)
    assert set(powers) == {"x"}
    assert "drawn studies" in powers["x"]


def test_many_subjects_of_a_claim_are_counted_and_few_are_named() -> None:
    stated = claim(contrast=0.01, expect="different")
    kinds = [VerdictKind.INCONCLUSIVE] * 9 + [VerdictKind.SUPPORTED] * 2
    each = [SubjectVerdict(stated.only, ClaimSubject(Pair("a", str(i))), kind, "why") for i, kind in enumerate(kinds)]
    outcome = ClaimVerdict(VerdictKind.SUPPORTED, "", tuple(each), claim=stated)
    assert of_many(outcome, stated) == "different for a − 9 and a − 10; inconclusive for 9 of 11"
    alike = ClaimVerdict(VerdictKind.INCONCLUSIVE, "", tuple(each[:9]), claim=stated)
    assert of_many(alike, stated) == "inconclusive for all 9, as for a − 0: why"


def test_seed_noise_of_many_families_is_one_sentence() -> None:
    noise = {f"f{i}": SimpleNamespace(sd=None, df=0) for i in range(140)}
    view: Any = SimpleNamespace(noise=noise)
    assert seed_noise(view).endswith("unknown for 140 families, where no configuration has two seeds.")
    view = SimpleNamespace(noise={f"f{i}": SimpleNamespace(sd=0.01 + i / 1000, df=3) for i in range(20)})
    assert seed_noise(view).endswith("1.00 % to 2.90 % for 20 families.")


def test_a_ledger_without_times_tells_no_hours() -> None:
    runs = pd.DataFrame({"run_id": ["a", "b"], "N": [1e4, 2e4], "L": [2.0, 1.9], "status": ["ok", "failed"]})
    table = ledger(runs)
    assert table["hours"] == ""
    assert [lost for lost, _, _ in table["rows"]] == [True, False]
    assert ledger(runs.assign(wall_s=1800.0))["hours"] == "1.00"


def test_a_legend_has_columns_for_the_length_of_its_names() -> None:
    short, long = (g.hue([name * k for name in "abcdef"], legend=True)["legend"] for k in (2, 25))
    assert short["columns"] >= 6
    assert long["columns"] == 3


def test_a_search_of_rates_leads_with_the_best_rate_of_each_size() -> None:
    places = [(N, lr) for N in (1e4, 4e4, 1.6e5) for lr in (0.0025, 0.005, 0.01, 0.02, 0.04)]
    table = pd.DataFrame(places, columns=["N", "lr"]).assign(family="mlp", D=1e6, seed=0)
    best = table["N"].map({1e4: 0.01, 4e4: 0.01, 1.6e5: 0.0025})
    table["L"] = 1.5 + 10 * table["N"] ** -0.3 + 0.05 * np.log(table["lr"] / best) ** 2
    view = look(table, [])
    assert question(view) == "Where does the best learning rate lie?"
    assert finding(view) == (
        "The best learning rate is 0.01 at N 10k, 0.01 at N 40k and 0.0025, on the edge of those tried, at N 160k."
    )
    assert headline(view, {n: f for n, f in draw_all(view) if isinstance(f, Figure)}).name == "rates"  # type: ignore[union-attr]
