"""A user's own families, data, laws, quantities, figures, claims and ladders, without touching the installed package.

docs/adding.md goes through all of them from the command line; here are the rules.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TINY, Isoflop

from isoflop import extensions
from isoflop.errors import UserError

FAMILIES = """
from isoflop.scaling.families.mlp import Mlp


class Mine(Mlp):
    pass
"""
YAML = "_target_: {name}.families.Mine\nwidth: 8\ndepth: 1\nlr: 0.02\nwindow: 4\n"
LAWS = '''
from isoflop.analysis.laws.declare import Column, Exponent, Scale, law


@law("ours")
def {name}_law(x: Column, *, A: Scale, alpha: Exponent) -> Column:
    """L(x) = A (1 + x)^-alpha"""
    return A * (1 + x) ** -alpha
'''


def lab(folder: Path, name: str) -> Path:
    """An extension with a family and a law."""
    root = folder / name
    (root / "conf" / "family").mkdir(parents=True)
    (root / "families.py").write_text(FAMILIES)
    (root / "laws.py").write_text(LAWS.format(name=name))
    (root / "conf" / "family" / f"{name}_mine.yaml").write_text(YAML.format(name=name))
    return root


@pytest.fixture(autouse=True)
def undeclared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No extension is declared before a test, and none stays after it."""
    monkeypatch.setenv(extensions.ENVIRONMENT, "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    laws = importlib.import_module("isoflop.analysis.laws.declare").LAWS
    before = dict(laws)
    yield
    laws.clear()
    laws.update(before)


def test_a_declared_law_is_in_the_catalogue(tmp_path: Path) -> None:
    from isoflop.analysis.laws.declare import get_law

    extensions.declare(str(lab(tmp_path, "lab_a")))
    assert get_law("lab_a_law(D)").columns == ("D",)
    with pytest.raises(UserError, match=r"choose one of .*lab_a_law"):
        get_law("lab_b_law")


def test_a_declared_family_is_a_choice_and_can_be_built(tmp_path: Path) -> None:
    import isoflop as iso
    from isoflop.scaling.app import help_text
    from isoflop.scaling.config import choices

    extensions.declare(str(lab(tmp_path, "lab_c")))
    assert "lab_c_mine" in choices.names("family")
    assert "lab_c_mine" in help_text()
    assert type(iso.family("lab_c_mine", width=4).family).__module__ == "lab_c.families"


def test_an_edit_of_an_extension_is_other_code_where_its_class_is_used(tmp_path: Path) -> None:
    root = lab(tmp_path, "lab_d")
    extensions.declare(str(root))
    classes = ["lab_d.families.Mine", "isoflop.scaling.data.text.Text"]
    ours = ["isoflop.scaling.families.mlp.Mlp", "isoflop.scaling.data.text.Text"]

    def sources(of: list[str]) -> str:
        from isoflop.scaling.config import provenance

        provenance._sources.cache_clear()
        return str(provenance.code(of, ["lab_d"]).sources)

    before, before_ours = sources(classes), sources(ours)
    (root / "helpers.py").write_text("x = 1\n")
    assert sources(classes) != before
    assert sources(ours) == before_ours


def test_an_override_and_a_folder_of_yamls_declare_and_the_rest_is_for_hydra(tmp_path: Path) -> None:
    one, other = lab(tmp_path, "lab_e"), lab(tmp_path, "lab_f")
    rest = extensions.take(["-m", f"isoflop.extensions=[{one}]", "seed=1", "--config-dir", str(other)])
    assert rest == ["-m", "seed=1"]
    assert extensions.declared() == ("lab_e", "lab_f")
    assert os.environ[extensions.ENVIRONMENT] == f"{one},{other}"
    assert extensions.take([f"--config-dir={one}", "seed=2"]) == ["seed=2"]


def test_what_is_declared_relative_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lab(tmp_path, "lab_g")
    monkeypatch.chdir(tmp_path)
    extensions.declare("lab_g")
    monkeypatch.chdir("/")
    assert extensions.get("lab_g").root == root


def test_what_cannot_be_an_extension_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="'lab_h' is neither a folder nor an installed package"):
        extensions.declare("lab_h")
    broken = lab(tmp_path, "lab_i")
    (broken / "laws.py").write_text("import nothing_of_the_kind\n")
    with pytest.raises(UserError, match=r"lab_i.laws of .* cannot be imported: ModuleNotFound.*\(laws.py, line 1\)"):
        extensions.declare(str(broken))


def test_a_yaml_of_the_name_of_one_of_ours_is_refused(tmp_path: Path) -> None:
    root = lab(tmp_path, "lab_j")
    (root / "conf" / "family" / "mlp.yaml").write_text("width: 8\n")
    with pytest.raises(UserError, match=r"lab_j/conf/family/mlp.yaml has the name of .*conf/family/mlp.yaml; rename"):
        extensions.declare(str(root))


def test_a_folder_that_a_module_of_the_same_name_hides_is_refused(tmp_path: Path) -> None:
    root = lab(tmp_path, "json")
    with pytest.raises(UserError, match=r"has the name json, by which Python finds .*json/__init__.py; rename"):
        extensions.declare(str(root))


def test_a_frozen_class_of_an_extension_that_is_not_declared_is_not_imported(tmp_path: Path) -> None:
    from isoflop.scaling.config import choices

    with pytest.raises(UserError, match=r"lab_k is not declared; run the same with ISOFLOP_EXTENSIONS=FOLDER/lab_k"):
        choices.target("family", "lab_k_mine", ["lab_k"], "lab_k.families.Mine")
    extensions.declare(str(lab(tmp_path, "lab_k")))
    assert choices.target("family", "lab_k_mine", ["lab_k"], "lab_k.families.Mine") == "lab_k.families.Mine"


def test_claims_and_figures_of_an_extension_join_ours(tmp_path: Path) -> None:
    from isoflop.analysis.claims.claim import FOLDER, load_claims
    from isoflop.analysis.report.figures.base import drawings

    root = lab(tmp_path, "lab_l")
    (root / "conf" / "claims").mkdir()
    text = (FOLDER / "predictable-D.yaml").read_text()
    (root / "conf" / "claims" / "mine.yaml").write_text(text.replace("id: predictable-D", "id: mine"))
    (root / "figures").mkdir()
    (root / "figures" / "dots.py").write_text('NAME, ORDER, NEEDS = "dots", 99, "runs"\n\ndef draw(view): ...\n')
    ours, figures = {claim.id for claim in load_claims()}, [drawing.name for drawing in drawings()]
    extensions.declare(str(root))
    assert {claim.id for claim in load_claims()} == ours | {"mine"}
    assert {claim.id for claim in load_claims(FOLDER)} == ours
    assert [drawing.name for drawing in drawings()] == [*figures, "dots"]


BUILT = "    def build(self, task):\n        return super().build(task).bodies\n"


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("verb", "code", "sentence"),
    [
        (["train"], BUILT, "line 9: AttributeError: "),
        (["plan", "--device", "H100"], BUILT, "line 9: AttributeError: "),
        (["train"], "    x: int = y\n", "line 8: NameError: name 'y' is not defined"),
        (["train"], "", ""),
    ],
    ids=["built to be trained", "built to be planned", "imported", "no class"],
)
def test_a_broken_family_is_one_sentence_with_its_line(
    isoflop: Isoflop, tmp_path: Path, verb: list[str], code: str, sentence: str
) -> None:
    root = lab(tmp_path, "lab_o")
    text = f"from dataclasses import dataclass\n{FAMILIES}".replace("class Mine", "@dataclass(frozen=True)\nclass Mine")
    (root / "families.py").write_text(text.replace("    pass\n", code) if code else "")
    words = ["family=lab_o_mine", "data=copy", "budget.D=1e3", f"out={tmp_path / 'runs'}"]
    done = isoflop(*verb, f"isoflop.extensions=[{root}]", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    place = f"{root / 'families.py'}, {sentence}" if code else "_target_, lab_o.families.Mine, is not a class (module"
    assert place in done.stderr


def test_another_app_of_hydra_does_not_see_the_extensions(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import hydra\n\n@hydra.main(config_path=None, config_name=None, version_base='1.3')\ndef main(cfg):\n"
        "    from hydra.core.hydra_config import HydraConfig\n"
        "    print([s.path for s in HydraConfig.get().runtime.config_sources])\n\nmain()\n"
    )
    env = os.environ | {extensions.ENVIRONMENT: str(lab(tmp_path, "lab_m"))}
    done = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert "hydra.conf" in done.stdout
    assert "lab_m" not in done.stdout


@pytest.mark.slow
# that joblib's workers know the environment of the sweep: docs/clusters.md and test_clusters.py run it too
@pytest.mark.parametrize("launcher", ["isoflop", "basic", pytest.param("joblib", marks=pytest.mark.nightly)])
def test_every_launcher_trains_a_family_of_an_extension(isoflop: Isoflop, tmp_path: Path, launcher: str) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    root = lab(tmp_path, "lab_n")
    point = ["family=lab_n_mine", "family.width=4,8", "budget.D=1e3", *TINY, f"hydra/launcher={launcher}"]
    command = ["train", "-m", f"isoflop.extensions=[{root}]", *point, f"out={tmp_path}/runs"]
    done = isoflop(*command)
    assert "2 ok" in done.stderr, done.stderr
    if launcher == "isoflop":
        (root / "families.py").write_text(FAMILIES + "\n# edited\n")
        assert "2 of those done were made by other code" in " ".join(isoflop(*command).stderr.split())
