"""Laws by their names: columns, targets, other names, and the page that lists them."""

import json
import re
from pathlib import Path

import pytest
from synthetic_laws import seeded

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.holdout.compare import compare
from isoflop.analysis.laws.declare import LAWS, get_law
from isoflop.analysis.verbs import main
from isoflop.errors import UserError


def test_any_column_can_be_the_target() -> None:
    law = get_law("chinchilla", "accuracy")
    assert (law.target, law.formula) == ("accuracy", "accuracy(N, D) = E + A N^-alpha + B D^-beta")
    assert get_law("sigmoid").target == "accuracy"
    assert get_law("m4(D)", "val/loss").formula == "(val/loss - E) / (L0 - val/loss)^alpha = beta D^-c"
    rows = seeded("chinchilla").rename(columns={"L": "val/loss"})
    assert fit(rows, get_law("chinchilla", "val/loss"), interval="none").objective == pytest.approx(
        fit(seeded("chinchilla"), interval="none").objective
    )
    with pytest.raises(UserError, match=r"chinchilla predicts from N, D; choose a target that is not one of them"):
        get_law("chinchilla", "N")


def test_target_names_the_column_that_a_law_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = seeded("chinchilla").rename(columns={"L": "val/loss"})
    rows.to_csv(tmp_path / "runs.csv", index=False)
    path = str(tmp_path / "runs.csv")
    assert main(["fit", path, "--target", "val/loss", "--interval", "none"]) == 0
    assert "val/loss(N, D) = E + A N^-alpha + B D^-beta" in capsys.readouterr().out
    assert main(["predict", path, "--target", "val/loss", "--at", "N=1e9,D=1e10", "--json"]) == 0
    (prediction,) = json.loads(capsys.readouterr().out)["predictions"]
    assert prediction["val/loss"]["low"] < 1.6 + 400 * 1e9**-0.31 + 400 * 1e10**-0.29 < prediction["val/loss"]["high"]
    assert main(["fit", path, "--target", "score"]) == 2
    assert "has no score: name it, as in --columns score=its_name" in capsys.readouterr().err


def test_the_page_of_laws_lists_the_catalogue() -> None:  # test_docs.py holds that it is current
    text = (Path(__file__).parents[2] / "docs/reference/laws.md").read_text()
    named = set(re.findall(r"^\| `(\w+)\(", text, re.MULTILINE))
    assert len(named) > 20
    assert named <= set(LAWS)


@pytest.mark.parametrize("name", ["power(C)", "chinchilla(n_total,D)", "val/loss ~ sigmoid(L)", "a b ~ m4(D)"])
def test_the_name_of_a_law_names_it(name: str) -> None:
    assert get_law(name).name == name
    assert get_law(get_law(name).name) == get_law(name)


def test_two_names_of_one_law_are_listed_once() -> None:
    assert "overtraining" not in LAWS
    law = get_law("overtraining(n_total, D)")
    assert law.name == "chinchilla_tied(n_total,D)"
    N, D, E, A, B, eta = 1e8, 4e9, 1.7, 20.0, 30.0, 0.12
    # Gadre et al. 2024, arXiv:2403.08540, eq. 4
    theirs = E + (A * (D / N) ** eta + B * (D / N) ** -eta) * (6 * N * D) ** -eta
    assert law(N, D, E=E, A=A / 6**eta, B=B / 6**eta, alpha=2 * eta) == pytest.approx(theirs)


def test_the_best_split_under_equal_exponents_is_a_minimum() -> None:
    law, params = get_law("chinchilla_tied"), {"E": 1.7, "A": 300.0, "B": 500.0, "alpha": 0.3}
    N, D = law.curve("N_opt", 1e20, params), law.curve("D_opt", 1e20, params)
    assert pytest.approx(1e20) == 6 * N * D
    best, *others = (law(k * N, D / k, **params) for k in (1, 0.99, 1.01))
    assert best < min(others)


def test_a_formula_of_two_lines_is_whole() -> None:
    assert LAWS["routed"].formula.endswith("1/E' = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max")


def test_a_comparison_of_losses_refuses_a_law_of_something_else() -> None:
    rows = seeded("chinchilla").assign(accuracy=0.5)
    result = compare(rows, ["power(N)", "sigmoid(L)"], axis="D", interval="none")
    assert "power(N)" in set(result.table["law"])
    assert result.refused == {"sigmoid(L)": "it predicts accuracy, and a comparison holds out L"}
