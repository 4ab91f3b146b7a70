"""Modules that have moved are found by their earlier names, in imports, yamls and frozen configs of finished runs."""

import importlib
from pathlib import Path

import pytest

from isoflop import extensions
from isoflop.scaling import MOVED, present
from isoflop.scaling.config import choices, provenance

COPY = "isoflop.scaling.data.synthetic.copy.Copy"
EARLIER = "isoflop.scaling.data.generated.copy.Copy"


@pytest.mark.parametrize("earlier", MOVED)
def test_an_earlier_name_is_the_same_module(earlier: str) -> None:
    assert importlib.import_module(earlier) is importlib.import_module(MOVED[earlier])


def test_a_module_of_a_package_that_moved_exists_once() -> None:
    earlier = importlib.import_module("isoflop.scaling.data.generated.copy")
    assert earlier.Copy is importlib.import_module("isoflop.scaling.data.synthetic.copy").Copy


def test_a_module_that_moved_twice_is_found() -> None:
    hidden = present("isoflop.scaling.data.generated.hmm.HiddenMarkov")
    assert hidden == "isoflop.scaling.data.synthetic.markov.HiddenMarkov"
    assert choices.target("data", "hmm", (), frozen="isoflop.scaling.data.generated.hmm.HiddenMarkov") == hidden


def test_a_name_that_only_begins_alike_has_not_moved() -> None:
    assert present("isoflop.scaling.data.shards_of_mine.Shards") == "isoflop.scaling.data.shards_of_mine.Shards"


def test_a_frozen_config_and_a_yaml_of_an_extension_may_use_an_earlier_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choices.target("data", "copy", (), frozen=EARLIER) == COPY
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "old_copy.yaml").write_text(f"_target_: {EARLIER}\nsize: 1000\n")
    monkeypatch.setenv(extensions.ENVIRONMENT, str(tmp_path))
    assert choices.target("data", "old_copy", choices.declared()) == COPY
    # and the sources that the result follows from are those of the present module
    assert provenance.code([present(EARLIER)]).sources == provenance.code([COPY]).sources
