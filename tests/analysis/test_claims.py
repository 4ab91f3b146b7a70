"""A claim's yaml says the rule; the verdict follows from it and from nothing else."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import TRUTH, demo_study, grid_study

from isoflop.analysis.claims import provenance
from isoflop.analysis.claims.claim import FOLDER, Claim, load_claims, read_claim
from isoflop.analysis.claims.declare import QUANTITIES, Contrast, Pair, Quantity, Sample, listing, quantity
from isoflop.analysis.claims.judge import judge
from isoflop.analysis.claims.needs import Needs, Seeds
from isoflop.analysis.claims.provenance import Commits, changed_since, judged_by, meaning, since
from isoflop.analysis.claims.region import UNITS, Region, VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.verdict import ClaimSubject, SubjectVerdict, of_subjects
from isoflop.analysis.runs.levels import level_index
from isoflop.analysis.runs.where import conditions
from isoflop.analysis.verbs import main
from isoflop.errors import UserError
from isoflop.schema import read

GOOD = """
id: mine
claim: The exponent is a half.
law: power(D)
quantity: law_parameter
of: alpha
region: {near: 0.5, within: 0.03}
"""
HOLD_OUT = """
id: mine
claim: The largest run is predicted.
quantity: holdout_error
law: power_offset(D)
axis: D
region: {below: 0.01}
"""
CONTRAST = """
id: mine
claim: They differ.
subject: pair
quantity: loss_contrast
region: {contrast: 0.005}
"""
MEAN = """
id: mine
claim: It falls.
quantity: run_mean
of: probe.slope
region: {below: 0}
"""


def write(folder: Path, text: str) -> Path:
    """One claim in a file of its own."""
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("region", "low", "high", "verdict"),
    [
        ({"near": 0.5, "within": 0.03}, 0.48, 0.52, "supported"),
        ({"near": 0.5, "within": 0.03}, 0.40, 0.60, "inconclusive"),  # not different is not equal
        ({"near": 0.5, "within": 0.03}, 0.54, 0.60, "refuted"),
        ({"between": [0.2, 0.4]}, 0.25, 0.35, "supported"),
        ({"between": [0.2, 0.4]}, 0.35, 0.45, "inconclusive"),
        ({"between": [0.2, 0.4]}, 0.45, 0.55, "refuted"),
        ({"above": 1}, 1.1, 1.2, "supported"),
        ({"above": 1}, 0.9, 1.1, "inconclusive"),
        ({"above": 1}, 0.8, 0.9, "refuted"),
        ({"below": 0.01}, 0.0, 0.009, "supported"),
        ({"below": 0.01}, 0.0, 0.011, "inconclusive"),
        ({"below": 0.01}, 0.011, 0.02, "refuted"),
        ({"below": 0.01}, None, 0.009, "supported"),  # the missing bound is on the side that does not matter
        ({"below": 0.01}, 0.0, None, "inconclusive"),
        ({"near": 0.5, "within": 0.03}, None, None, "inconclusive"),
    ],
)
def test_an_interval_inside_supports_outside_refutes_and_across_decides_nothing(
    region: dict, low: float | None, high: float | None, verdict: str
) -> None:
    assert read(Region, region, "x.yaml").verdict(low, high) == verdict


def test_a_tolerance_grows_with_the_seed_noise() -> None:
    region = Region(below=0.01, or_seed_sd=2)
    assert region.verdict(0.0, 0.015, seed_sd=0.002) == "inconclusive"
    assert region.verdict(0.0, 0.015, seed_sd=0.008) == "supported"


@pytest.mark.parametrize(
    ("value", "wide", "narrow", "verdict"),
    [
        (0.03, (0.01, 0.05), (0.015, 0.045), "supported"),
        (0.015, (0.01, 0.02), (0.011, 0.019), "refuted"),  # surely not 0, and surely too small to matter
        (0.03, (-0.01, 0.07), (-0.005, 0.065), "inconclusive"),
        (0.0, (-0.01, 0.01), (-0.009, 0.009), "refuted"),
        (0.0, (-0.03, 0.03), (-0.025, 0.025), "inconclusive"),  # not significant is not equivalent
    ],
)
def test_different_needs_size_and_significance_and_equivalent_the_whole_interval(
    value: float, wide: tuple, narrow: tuple, verdict: str
) -> None:
    region = Region(contrast=0.02)
    assert region.verdict_on_difference(value, wide, narrow) == verdict
    equivalent = Region(contrast=0.02, expect="equivalent")
    turned = {"supported": "refuted", "refuted": "supported"}.get(verdict, verdict)
    assert equivalent.verdict_on_difference(value, wide, narrow) == turned


@pytest.mark.parametrize(
    ("how", "subjects", "verdict"),
    [
        ("all", ["supported", "supported"], "supported"),
        ("all", ["supported", "refuted", "untested"], "refuted"),
        ("all", ["supported", "untested"], "untested"),
        ("all", ["supported", "not_identified", "inconclusive"], "not_identified"),
        ("any", ["supported", "refuted"], "supported"),
        ("any", ["refuted", "refuted"], "refuted"),
        ("any", ["refuted", "inconclusive"], "inconclusive"),
    ],
)
def test_all_falls_to_one_counter_example_and_any_stands_on_one(how: str, subjects: list[str], verdict: str) -> None:
    rule = Rule("run_mean", Region(above=0), combine=how)
    each = [SubjectVerdict(rule, ClaimSubject(str(i)), VerdictKind(v), "", 1.0) for i, v in enumerate(subjects)]
    assert of_subjects(rule, each).verdict == verdict


@pytest.mark.parametrize(
    ("subjects", "verdict", "says"),
    [
        (["supported", "supported", "refuted"], "supported", "2 of 3 supported, 1 refuted: "),
        (["supported", "refuted", "refuted"], "refuted", "1 of 3 supported, 2 refuted: "),
        (["supported", "refuted"], "refuted", "1 of 2 supported, 1 refuted: "),
        (["supported", "supported", "inconclusive"], "inconclusive", "2 of 3 supported, 0 refuted: "),
        (["refuted", "refuted", "untested"], "untested", "0 of 3 supported, 2 refuted: "),
    ],
)
def test_a_count_is_decided_once_each_subject_is(subjects: list[str], verdict: str, says: str) -> None:
    rule = Rule("run_mean", Region(above=0), combine="count")
    each = [SubjectVerdict(rule, ClaimSubject(str(k)), VerdictKind(kind), "") for k, kind in enumerate(subjects)]
    found = of_subjects(rule, each)
    assert found.verdict == verdict
    assert found.reason.startswith(says)
    assert "decided when each family is, at Holm's levels; supported if more than 50 % support it" in str(rule)


def test_a_count_judges_n_subjects_at_holms_levels(tmp_path: Path) -> None:
    # the mean of 5 runs, sd 1 between them: t of 4 degrees of freedom, half-widths 1.24 at 95 %, 1.56 at 97.5, 1.77 at
    # 98.33 %
    spread = np.array([-1.0, -1, 0, 1, 1])
    means = {"far": 3.0, "near": 1.6, "at": 1.3}

    def of(**chosen: float) -> dict[str, str]:
        rows = [
            {"family": name, "seed": k, "N": 10.0, "D": 10.0, "C": 600.0, "L": 2.0, "probe.slope": -mean + step}
            for name, mean in chosen.items()
            for k, step in enumerate(spread)
        ]
        claim = write(tmp_path, MEAN + "combine: count\nshare: 0.6\n")
        (verdict,) = judge(pd.DataFrame(rows), claim)
        return {str(s.subject): s.reason for s in verdict.subjects} | {"all": verdict.verdict.value}

    alone = of(at=1.3)
    assert alone["all"] == "supported"
    assert "interval at 95.0 %" in alone["at"]
    # the farthest leaves first; of the two that stay the next needs 97.5 %, the last 95 %
    three = of(**means)
    assert three["all"] == "supported"
    assert [three[name].rpartition("; ")[2] for name in means] == [
        "interval at 98.3 %", "interval at 97.5 %", "interval at 95.0 %",
    ]  # fmt: skip
    # without a farther one the first step decides nothing, and both stay open
    assert of(near=1.5, at=1.3)["all"] == "inconclusive"


def test_a_share_is_that_of_a_count(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is that of combine: count"):
        read_claim(write(tmp_path, MEAN + "share: 0.6\n"))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_claim_that_ships_is_read_and_says_its_rule(file: Path) -> None:
    claim = read_claim(file)
    assert claim.id == file.stem
    assert claim.claim.endswith(".")
    assert len(claim.in_words) > 40
    assert len(claim.sha256) == 64


def test_the_demo_tests_two_claims_and_names_the_runs_that_the_others_lack() -> None:
    verdicts = {v.id: v for v in judge(demo_study())}
    assert {"H1", "H3", "matched-C", "predictable-D"} <= verdicts.keys()
    for name in ("H1", "H3"):
        assert verdicts[name].verdict == "untested"
        assert "3 of 6 N with at least 6 D each (18 runs missing)" in verdicts[name].reason
        assert "3 seeds at 1 of 3 N (4 runs missing)" in verdicts[name].reason
        assert "lstm, mlp and transformer" in verdicts[name].reason
        assert verdicts[name].statistic is None
    for name in ("matched-C", "predictable-D"):
        assert verdicts[name].verdict in ("supported", "refuted", "inconclusive")
        assert len(verdicts[name].subjects) == 3


@pytest.mark.nightly
def test_the_grid_that_h1_asks_for_meets_its_needs() -> None:
    verdicts = {v.id: v for v in judge(grid_study())}
    assert verdicts["H1"].verdict == "supported"
    assert "lr" in verdicts["H3"].reason


def test_needs_count_what_is_missing_for_each_axis() -> None:
    needs = Needs(grid={"N": 6, "D": 6}, seeds=Seeds(3, {"N": 3}), span={"D": 2})
    rows = grid_study(["lstm"])
    assert needs.missing(rows) == []
    first = rows["rung"].str.startswith("N0")
    assert needs.missing(rows[~first]) == ["5 of 6 N with at least 6 D each (6 runs missing)"]
    assert needs.missing(rows[rows["seed"] == 0]) == ["3 seeds at 0 of 3 N (6 runs missing)"]
    assert needs.missing(rows.drop(columns="N")) == ["no values in the column N"]
    assert needs.missing(rows.assign(status="failed", L=np.nan)) == ["no finished runs, needs 6 N × 6 D"]


def test_marks_that_one_run_may_have_are_not_counted_as_so_many_runs() -> None:
    needs = Needs(grid={"N": 6, "D": 6}, seeds=Seeds(3, {"D": 3}))
    rows = grid_study(["lstm"])
    sizes, amounts = level_index(rows["N"]), level_index(rows["D"])
    marks = rows.assign(mark=amounts + 1, run_id=[f"{n}-{seed}" for n, seed in zip(sizes, rows["seed"], strict=True)])
    assert needs.missing(marks) == []
    few = marks[(amounts < 4) & (sizes < 5) & (marks["seed"] == 0)]
    assert needs.missing(few) == [
        "0 of 6 N with at least 6 D each (16 marks missing, of 6 runs or more)",
        "3 seeds at 0 of 3 D (6 marks missing, of 2 runs or more)",
    ]
    ended = marks.assign(status=np.where(sizes < 3, "ok", "failed"))
    claim = Claim("x", "", rule=Rule("run_mean", Region(above=0), of=("L",), needs=needs))
    lost = ended[ended["status"] == "failed"]
    assert (runs := lost["run_id"].nunique()) < len(lost)
    assert f"Unfinished, not counted: {runs} of lstm" in judge(ended, [claim])[0].reason


def test_one_verdict_a_claim_as_plain_data() -> None:
    plain = json.loads(json.dumps([v.to_json() for v in judge(demo_study())], allow_nan=False))
    assert len({p["id"] for p in plain}) == len(plain)
    for one in plain:
        assert {"id", "verdict", "statistic", "low", "high", "reason"} <= one.keys()
        assert one["verdict"] in ("supported", "refuted", "inconclusive", "not_identified", "untested")
        assert len(one["sha256"]) == 64


def test_the_same_rows_in_another_order_give_the_same_verdicts() -> None:
    rows = demo_study()
    one, two = ([v.to_json() for v in judge(r)] for r in (rows, rows.sample(frac=1, random_state=3)))
    for a, b in zip(one, two, strict=True):
        assert a["verdict"] == b["verdict"]
        assert a["statistic"] is b["statistic"] or a["statistic"] == pytest.approx(b["statistic"], rel=1e-4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "quantiy: x\n", "quantiy"),
        (GOOD.replace("law_parameter", "law_parmeter"), "unknown quantity 'law_parmeter'; did you mean law_parameter?"),
        (GOOD.replace("region: {near: 0.5, within: 0.03}", ""), "region"),
        (GOOD.replace("within: 0.03", "withn: 0.03"), "region has no key 'withn'; did you mean within?"),
        (GOOD.replace("within: 0.03", "within: small"), "within"),
        (GOOD.replace("{near: 0.5, within: 0.03}", "{between: [0.4, 0.2]}"), "between"),
        (GOOD.replace("{near: 0.5, within: 0.03}", "{contrast: 0.02}"), "pair"),
        (GOOD.replace("power(D)", "powr(D)"), "powr"),
        (GOOD.replace("of: alpha", "of: alhpa"), "law power(D) has no alhpa; did you mean alpha? it has A, alpha"),
        (GOOD.replace("of: alpha", ""), "quantity=law_parameter needs the key of"),
        (GOOD.replace("law: power(D)", ""), "quantity=law_parameter needs the key law"),
        (GOOD + "axis: D\n", "quantity=law_parameter takes no axis; leave it out"),
        (GOOD + "subject: pair\n", "quantity=law_parameter is measured on a family"),
        (HOLD_OUT.replace("axis: D", ""), "quantity=holdout_error needs the key axis"),
        (HOLD_OUT.replace("law: power_offset(D)", ""), "quantity=holdout_error needs the key law"),
        (HOLD_OUT.replace("law: power_offset(D)", "").replace("axis: D", ""), "needs the key law"),
        (CONTRAST.replace("subject: pair", "subject: family"), "quantity=loss_contrast is measured on a pair"),
        (CONTRAST + "law: chinchilla\n", "quantity=loss_contrast takes no law"),
        (GOOD + "where: family is mlp\n", "where: 'family is mlp' is not a condition"),
        (GOOD + "needs: {grid: {D: six}}\n", "needs.grid.D='six' must be a whole number of at least 1"),
        (GOOD + "needs: {seeds: 3}\n", "needs.seeds=3 must be a mapping with the keys count, at; an example is"),
        (GOOD + "needs: {girds: {D: 6}}\n", "girds"),
        (GOOD + "level: 95\n", "level=95 must be a number of at least 0.5 and below 1"),
        (
            GOOD + "at: {width: center}\n",
            "at.width='center' must be smallest, middle or largest or a number; an example is",
        ),
        (GOOD + "claim: twice\n", "yaml"),
        ("id: [\n", "yaml"),
        ("- a list\n", "mapping"),
        ("", "mapping"),
    ],
)
def test_a_bad_claim_is_one_sentence_that_names_the_file_and_the_key(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_claims(tmp_path)
    assert str(file) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_such_as_1e18_in_a_claim_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace("near: 0.5, within: 0.03", "above: 1e18"))
    assert read_claim(file).only.region.above == 1e18


def test_two_claims_of_one_name_and_a_folder_of_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no claims"):
        load_claims(tmp_path)
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    with pytest.raises(UserError, match="id=mine"):
        load_claims(tmp_path)


def test_a_claim_that_ships_is_named_by_its_id() -> None:
    ids = [claim.id for claim in load_claims()]
    assert "H32" in ids
    assert [[found.id for found in load_claims(one)] for one in ids[:3]] == [[one] for one in ids[:3]]


def test_a_claim_of_runs_that_are_not_there_is_untested_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD + "where: \"family = 'gru'\"\n")
    (tmp_path / "b.yaml").write_text(GOOD.replace("mine", "probe") + "where: probe.gradient > 0\n")
    first, second = judge(demo_study(), tmp_path)
    assert (first.verdict, second.verdict) == ("untested", "untested")
    assert "gru" in first.reason
    assert "probe.gradient" in second.reason


def test_a_foreign_table_without_families_is_judged_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    D = np.geomspace(1e5, 1e8, 12)
    noise = np.exp(0.001 * np.random.default_rng(0).standard_normal(12))
    (verdict,) = judge(pd.DataFrame({"D": D, "L": 800 * D**-0.5 * noise}), tmp_path)
    assert verdict.verdict == "supported"


def test_a_probe_column_is_judged_by_its_mean_over_runs(tmp_path: Path) -> None:
    text = (
        GOOD.replace("law_parameter", "run_mean").replace("of: alpha", "of: probe.slope").replace("law: power(D)", "")
    )
    (tmp_path / "a.yaml").write_text(text.replace("{near: 0.5, within: 0.03}", "{below: 0}"))
    rows = demo_study(["lstm"])
    rows["probe.slope"] = -1 + 0.1 * np.random.default_rng(0).standard_normal(len(rows))
    assert judge(rows, tmp_path)[0].verdict == "supported"


def git(folder: Path, *words: str) -> str:
    """What git says in a folder."""
    who = ["-c", "user.name=x", "-c", "user.email=x@x.x"]
    return subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_claim_that_changed_after_its_runs_is_told_from_one_that_did_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "claims first")
    rows = demo_study().assign(git=git(tmp_path, "rev-parse", "HEAD"))
    assert changed_since(file, rows)[0] is False
    file.write_text(GOOD.replace("within: 0.03", "within: 0.3"))
    changed, sentence = changed_since(file, rows)
    assert changed is True
    assert rows["git"].iloc[0][:12] in sentence
    assert changed_since(file, rows.assign(git="f" * 40))[0] is None
    assert changed_since(file, rows.drop(columns="git"))[0] is None


def test_a_committed_verdict_says_what_it_would_be_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, table = write(tmp_path, HOLD_OUT), tmp_path / "runs.csv"
    grid_study(families=("lstm",)).to_csv(table, index=False)
    (now,) = judge(table, file)

    def said(**changes: object) -> list[str]:
        document = {"judged": judged_by(table), "verdicts": [now.to_json()]}
        document["verdicts"][0] |= {k: v for k, v in changes.items() if k in ("verdict", "sha256")}
        document |= {k: v for k, v in changes.items() if k == "judged"}
        (tmp_path / "verdicts.json").write_text(json.dumps(document))
        return since(table, [now])

    assert since(table, [now]) == []
    assert said() == []
    same = "1 of 1 verdicts are the same now"
    head = "verdicts.json beside the table was judged"
    assert said(judged={}) == [f"{head} by code that it does not name: {same}"]
    assert said(judged=judged_by(table) | {"code": "0"}) == [f"{head} by other code: {same}"]
    assert said(judged=judged_by(table) | {"rows": "0"}) == [f"{head} by other rows: {same}"]
    assert said(sha256="0") == [f"{head} by another rule of mine: {same}"]
    (moved,) = said(verdict="other", judged={})
    assert moved.endswith(f"0 of 1 verdicts are the same now; mine was other and is {now.verdict.value} now")
    assert main(["judge", str(table), "--claims", str(file)]) == 0
    assert f"mine was other and is {now.verdict.value} now" in capsys.readouterr().out
    (tmp_path / "verdicts.json").write_text("[")
    assert since(table, [now]) == []


def test_the_hash_of_code_knows_no_comment_and_no_docstring() -> None:
    one = 'def f(x):\n    """Say."""\n    return x + 1  # more\n'
    assert meaning(one) == meaning("def f(x):\n\n    return (x + 1)\n")
    assert meaning(one) != meaning(one.replace("+ 1", "+ 2"))


def test_git_is_asked_once_for_the_claims_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "our claims" / "é"
    folder.mkdir(parents=True)
    files = [folder / f"{name}.yaml" for name in ("a", "b b", "ü", "later")]
    for file in files[:-1]:
        file.write_text(f"id: {file.stem}")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "claims first")
    rows = demo_study().assign(git=git(tmp_path, "rev-parse", "HEAD"))
    files[-1].write_text("id: later")
    asked, ask, commits = list[str](), provenance._git, Commits()
    monkeypatch.setattr(provenance, "_git", lambda objects, *words: asked.append(words[0]) or ask(objects, *words))
    assert [changed_since(file, rows, commits_of=commits)[0] for file in files] == [False, False, False, True]
    assert asked == ["cat-file", "ls-tree"]


def test_the_git_config_of_a_folder_of_claims_runs_nothing(tmp_path: Path) -> None:
    file, ran = tmp_path / "mine.yaml", tmp_path / "ran"
    file.write_text(GOOD)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "claims first")
    rows = demo_study().assign(git=git(tmp_path, "rev-parse", "HEAD"))
    (tmp_path / ".gitattributes").write_text("* filter=evil\n")
    command = f"touch {ran}; cat"
    for key in ("filter.evil.clean", "core.fsmonitor", "core.sshCommand", "remote.origin.uploadpack"):
        git(tmp_path, "config", key, command)
    for key, value in (
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", f"ext::sh -c 'touch {ran}'"),
        ("protocol.ext.allow", "always"),
    ):
        git(tmp_path, "config", key, value)
    assert changed_since(file, rows)[0] is False
    assert changed_since(file, rows.assign(git="e" * 40))[0] is None  # nor is it fetched
    assert not ran.exists()


def test_a_misspelt_column_is_untested_and_the_claim_says_which_was_meant(tmp_path: Path) -> None:
    rows = demo_study(["lstm", "mlp"], failures=False)
    rows["probe.slop"] = -1.0
    (verdict,) = judge(rows, write(tmp_path, MEAN))
    assert verdict.verdict is VerdictKind.UNTESTED
    assert "the runs have no column probe.slope; did you mean probe.slop?" in verdict.reason
    (verdict,) = judge(rows, write(tmp_path, MEAN.replace("probe.slope", "device")))
    assert "no run has a number in the column device" in verdict.reason
    (verdict,) = judge(rows, write(tmp_path, HOLD_OUT.replace("axis: D", "axis: flops_per_taget")))
    assert "did you mean flops_per_target?" in verdict.reason
    (verdict,) = judge(rows, write(tmp_path, GOOD.replace("power(D)", "power(n_totl)")))
    assert "did you mean n_total?" in verdict.reason
    (verdict,) = judge(rows, write(tmp_path, GOOD + "needs: {columns: [rnug]}\n"))
    assert "did you mean rung?" in verdict.reason


def test_a_prediction_is_judged_where_the_parameters_are_not_identified(tmp_path: Path) -> None:
    # D is 20 N in every row: E, A and B cannot be told apart, and the next size is predicted all the same
    N = np.geomspace(1e6, 1e9, 10).repeat(3)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(N.size))
    L = (1.7 + 400 * N**-0.34 + 900 * (20 * N) ** -0.3) * noise
    rows = pd.DataFrame({"N": N, "D": 20 * N, "C": 120 * N * N, "seed": [0, 1, 2] * 10, "L": L})
    text = HOLD_OUT.replace("power_offset(D)", "chinchilla").replace("axis: D", "axis: C")
    (verdict,) = judge(rows, write(tmp_path, text.replace("below: 0.01", "below: 0.03")))
    assert verdict.verdict is VerdictKind.SUPPORTED
    assert "fit not identified" in verdict.subjects[0].reason
    assert "the band there is" in verdict.subjects[0].reason
    (verdict,) = judge(rows, write(tmp_path, text.replace("below: 0.01", "below: 0.004")))
    assert verdict.verdict is VerdictKind.INCONCLUSIVE


def test_the_reason_of_a_subject_that_is_not_identified_reaches_the_claim(tmp_path: Path) -> None:
    truth = {"flat": (2.0, 0.0, 0.3, 0.05, 0.3), "lstm": TRUTH["lstm"]}
    rows = demo_study(["flat", "lstm"], truth=truth, failures=False)
    (verdict,) = judge(rows, write(tmp_path, HOLD_OUT + "at: {width: middle}\n"))
    assert verdict.verdict is VerdictKind.NOT_IDENTIFIED
    assert "not identified for flat: the loss falls by" in verdict.reason
    assert "not_identified for" not in verdict.reason


def test_what_some_families_lack_is_said_beside_what_the_others_show(tmp_path: Path) -> None:
    rows = demo_study(["lstm", "mlp"], failures=False)
    rows = rows[(rows["family"] == "lstm") | (rows["C"] > 1e11)]
    text = HOLD_OUT + "at: {width: middle}\nneeds: {grid: {D: 6}}\n"
    (verdict,) = judge(rows, write(tmp_path, text))
    assert verdict.verdict is VerdictKind.UNTESTED
    assert verdict.reason == "supported for lstm; untested for mlp: mlp has 3 of 6 D (3 runs missing)"


def test_every_contrast_is_measured_once_whatever_the_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def counted(sample: Sample) -> Contrast:
        """difference that is counted"""
        measured.append(sample.pair)
        return Contrast(0.01 * len(measured), 0.002, 10)

    monkeypatch.setitem(QUANTITIES, "counted", Quantity("counted", counted, (), "pair", "", UNITS[""], "{amount}"))
    claim = Claim("x", "They differ.", rule=Rule("counted", Region(contrast=0), combine="any"))
    (verdict,) = judge(demo_study(), [claim])
    pairs = [Pair("lstm", "mlp"), Pair("lstm", "transformer"), Pair("mlp", "transformer")]
    assert measured == pairs
    assert [s.subject for s in verdict.subjects] == [ClaimSubject(pair) for pair in pairs]


def test_holm_judges_the_smallest_difference_at_the_uncorrected_level(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([0.9, 0.021, 0.9])

    def given(sample: Sample) -> Contrast:
        """difference that is given"""
        return Contrast(next(sizes), 0.01, 1000)

    monkeypatch.setitem(QUANTITIES, "given", Quantity("given", given, (), "pair", "", UNITS[""], "{amount}"))
    claim = Claim("x", "They differ.", rule=Rule("given", Region(contrast=0), combine="any"))
    (verdict,) = judge(demo_study(), [claim])
    levels = [s.reason.rpartition(" at ")[2] for s in verdict.subjects]
    assert levels == ["98.3 %", "95.0 %", "98.3 %"]
    assert verdict.subjects[1].verdict is VerdictKind.SUPPORTED


@pytest.mark.parametrize("declared", QUANTITIES.values(), ids=QUANTITIES)
def test_every_quantity_has_a_title_and_is_refused_by_the_key_it_lacks(declared: Quantity, tmp_path: Path) -> None:
    assert declared.title
    assert not declared.title.endswith(".")
    assert f"{declared.name}: {declared.title}\n    subject {declared.subject}; needs" in listing()
    region = "{contrast: 0.02}" if declared.subject == "pair" else "{above: 0}"
    keys = {
        "law": "chinchilla",
        "axis": "C",
        "of": {"parameter": "alpha", "local": "local_exponent_N"}.get(declared.of, "L"),
        "against": "width",
        "threshold": "0.5",
        "reach": "{L: 1.0}",
    }
    lines = {"id": "x", "claim": "It holds.", "quantity": declared.name, "region": region}
    lines |= {key: keys[key] for key in declared.needs}
    good = "".join(f"{key}: {value}\n" for key, value in lines.items())
    assert read_claim(write(tmp_path, good)).only.quantity == declared.name
    for key in declared.needs:
        with pytest.raises(UserError, match=f"quantity={declared.name} needs the key {key}"):
            read_claim(write(tmp_path, good.replace(f"{key}: {keys[key]}\n", "")))


@pytest.mark.parametrize(
    "declaration",
    [{"needs": ("lwa",)}, {"subject": "families"}, {"unit": "nats"}, {"of": "params"}, {"of": "parameter"}],
)
def test_a_quantity_that_is_declared_wrongly_is_refused_where_it_is_declared(declaration: dict) -> None:
    with pytest.raises(UserError, match="a quantity is declared with"):
        quantity(**declaration)


def test_the_page_of_claims_lists_quantities_and_verdicts_as_they_are_declared() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/quantities.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert len(named) > 20
    assert named == [line.partition(":")[0] for line in listing().splitlines()[::2]]
    for kind in VerdictKind:
        assert f"| {kind} | {kind.sentence} |" in page


def test_a_condition_is_read_once_for_claims_and_for_the_command_line() -> None:
    assert [c.column for c in conditions("family = 'a and b' and C<1e20")] == ["family", "C"]
    assert conditions("") == []
    assert conditions("C<1e20")[0].value == 1e20
