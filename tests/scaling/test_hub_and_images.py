"""Datasets of Hugging Face in a folder, and images: what is read, how subsets are made, what is refused."""

import json
import pickle
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isoflop.errors import UserError
from isoflop.scaling.data import hf, images
from isoflop.scaling.data.hf import HuggingFace
from isoflop.scaling.data.images import Cifar, SklearnDigits

TEXTS = [f"row {number}: " + "of a few words " * (1 + number % 7) for number in range(200)]


@pytest.fixture(autouse=True)
def store_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test prepares into a folder of its own, and reaches no hub."""
    monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path / "store"))
    monkeypatch.setattr(hf, "_hub_is_reachable", lambda: False)


def saved(folder: Path | None = None, **columns: list[Any]) -> Any:
    """A dataset of `datasets`, in a folder where one is given."""
    datasets = pytest.importorskip("datasets")
    try:
        rows = datasets.Dataset.from_dict(columns)
    except pickle.PicklingError as error:  # dill takes pyarrow apart where it is not in site-packages
        pytest.skip(f"datasets is installed where it cannot be used: {error}")
    if folder is not None:
        rows.save_to_disk(str(folder))
    return rows


def rows_of(data: HuggingFace) -> set[str]:
    """The documents of both sides."""
    sides = (data.prepared.train, data.prepared.held_out)
    return {text for side in sides for text in side.slice(0, side.tokens).tobytes().decode().split("\0") if text}


@pytest.mark.parametrize("form", ["saved", "parquet", "jsonl"])
def test_a_folder_in_a_format_of_datasets_is_streamed(tmp_path: Path, form: str) -> None:
    rows = saved(text=TEXTS, n=list(range(len(TEXTS))))
    folder = tmp_path / "rows"
    if form == "saved":
        rows.save_to_disk(str(folder), num_shards=2)
    else:
        folder.mkdir()
        getattr(rows, "to_parquet" if form == "parquet" else "to_json")(str(folder / f"train.{form}"))
    data = HuggingFace(name=str(folder), seq_len=16, held_share=0.2)
    assert rows_of(data) == set(TEXTS)
    assert data.load().n == (data.prepared.tokens("train") - 1) // 16
    assert data.prepared.manifest["source"]["name"] == str(folder)


def test_the_shards_of_a_dataset_are_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "UNIT", 2000)
    saved(tmp_path / "rows", text=TEXTS)
    data = HuggingFace(name=str(tmp_path / "rows"), seq_len=16, held_share=0.2)
    source = pickle.loads(pickle.dumps(data.source))  # as it comes to another process
    units = source.units()
    assert len(units) > 3
    documents = [document.decode() for unit in units for document in source.read(unit)]
    assert documents == TEXTS


def test_the_first_documents_are_taken_where_so_many_are_wanted(tmp_path: Path) -> None:
    saved(tmp_path / "rows", text=TEXTS)
    data = HuggingFace(name=str(tmp_path / "rows"), seq_len=16, held_share=0.2, documents=50)
    assert rows_of(data) == set(TEXTS[:50])


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"name": "nobody/nothing"}, "needs the network, which cannot be reached; give a folder"),
        ({"name": "ROWS", "field": "body"}, "row 1 of shard 1, has no text in 'body'; it has text; give data.field="),
        ({"name": "ROWS", "split": "test"}, "data.split=test is not a split of .*choose one of train"),
        ({"name": None}, "data=hf needs the name of a dataset"),
    ],
)
def test_a_dataset_that_cannot_be_had_is_one_sentence(tmp_path: Path, knobs: dict[str, Any], said: str) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.DatasetDict({"train": saved(text=TEXTS)})
    rows.save_to_disk(str(tmp_path / "rows"))
    name = str(tmp_path / "rows") if knobs["name"] == "ROWS" else knobs["name"]
    with pytest.raises(UserError, match=said) as refusal:
        HuggingFace(**{"seq_len": 16} | knobs | {"name": name}).load()
    assert "\n" not in str(refusal.value)


@dataclass(frozen=True)
class Squares(images.Images):
    """Images of 6 by 6 pixels of ten classes, each with its class in a corner, in unequal numbers."""

    def read(self) -> tuple[images._Pixels, images._Pixels]:
        rng = np.random.default_rng(0)
        return self.drawn(rng, 400), self.drawn(rng, 60)

    def drawn(self, rng: np.random.Generator, n: int) -> images._Pixels:
        classes = np.minimum(rng.integers(13, size=n), 9)
        pixels = rng.integers(256, size=(n, 1, 6, 6)).astype(np.uint8)
        pixels[:, 0, 0, 0] = classes
        return images._Pixels(pixels, classes.astype(np.int64))


def test_subsets_of_images_are_nested_and_have_as_many_of_each_class() -> None:
    before: tuple[torch.Tensor, torch.Tensor] | None = None
    for size in (2**4, 2**5, 2**6, 2**7):
        examples = Squares(size=size).load()
        x, y = examples.take(torch.arange(examples.n))
        counts = torch.bincount(y, minlength=10)
        assert examples.n == size
        assert counts.max() - counts.min() <= 1
        if before is not None:
            assert torch.equal(x[: len(before[0])], before[0])
            assert torch.equal(y[: len(before[1])], before[1])
        before = x, y
    everything = Squares().load()
    assert everything.n == 400
    assert sum(len(y) for _, y in everything.held_out(16)) == 60


def test_an_image_keeps_its_class() -> None:
    plain = Squares().load()
    x, y = plain.take(torch.arange(plain.n))
    corner = x[:, 0, 0, 0]
    assert torch.equal(corner.argsort(stable=True), y.argsort(stable=True))  # the same affine map of every class
    assert float(x.mean()) == pytest.approx(0, abs=1e-5)
    with pytest.raises(UserError, match=r"data\.size=1000 is more than the 400 images there are"):
        Squares(size=1000).load()


def test_one_permutation_of_pixels_is_applied_to_all_images() -> None:
    plain, permuted = Squares().load(), Squares(permuted=True).load()
    other = Squares(permuted=True, version=1).load()
    x, mixed = plain.x.flatten(1), permuted.x.flatten(1)
    place = [int((mixed == x[:, [pixel]]).all(0).nonzero()[0]) for pixel in range(36)]
    assert sorted(place) == list(range(36))
    assert place != list(range(36))
    assert torch.equal(permuted.held_x.flatten(1)[:, place], plain.held_x.flatten(1))
    assert not torch.equal(other.x[0], permuted.x[0])


def test_the_digits_of_scikit_learn(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data = SklearnDigits(size=128)
    examples = data.load()
    x, y = examples.take(torch.arange(128))
    held = torch.cat([x for x, _ in examples.held_out(64)])
    assert x.shape == (128, 1, 8, 8)
    assert torch.bincount(y).tolist() == [13] * 8 + [12] * 2
    assert data.task.d_out == 10
    assert len(SklearnDigits().load().x) + len(held) == 1797
    assert not (held[:, None] == SklearnDigits().load().x[None, :50]).flatten(2).all(2).any()


def test_cifar_is_read_as_torchvision_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, path: str, train: bool, download: bool) -> None:
            assert not download
            if path == "nowhere":
                raise RuntimeError("Dataset not found or corrupted.")
            self.targets = [n % 10 for n in range(50 if train else 20)]
            self.data = np.zeros((len(self.targets), 32, 32, 3), np.uint8) + np.arange(3, dtype=np.uint8)

    fake = types.SimpleNamespace(CIFAR10=Fake)
    monkeypatch.setattr(images, "library", lambda *_: fake)
    examples = Cifar(path="somewhere", size=20).load()
    assert examples.x.shape == (20, 3, 32, 32)
    assert len(set(examples.x[0, 0].flatten().tolist())) == 1  # a channel is a plane
    with pytest.raises(UserError, match=r"data\.path=nowhere does not hold CIFAR-10 as torchvision keeps it"):
        Cifar(path="nowhere").load()


@pytest.mark.parametrize(
    "body",
    [
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "import torch; torch.library.no_such_name",
        "raise OSError('libc10.so: cannot open shared object file')",
        "import a_module_that_is_not_there",
    ],
)
def test_a_torchvision_that_does_not_fit_torch_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    said = r"by torchvision, but torchvision is installed and cannot be imported \(.+\); install one of a version"
    with pytest.raises(UserError, match=said):
        Cifar(path=str(tmp_path)).load()


def test_prose_is_taken_from_the_packages_of_a_small_tree(tmp_path: Path) -> None:
    from benchmarks import debian
    from isoflop.scaling.data.files import Files

    long = "The scheduler decides which of the runnable tasks is to have the processor next, and for how long. " * 4
    shared = "Permission is granted to copy, distribute and modify this document under the terms of its licence. " * 3
    page = "<html><head><title>T</title></head><body><nav>Up <a>Next</a></nav><h1>On {0}</h1>"
    page += f"<p>{long}{{0}} &amp; more.</p>"
    page += f"<p>{shared}</p><div class='related'>Index</div><script>x()</script></body></html>"
    root = tmp_path / "unpacked" / "some-doc"
    html = root / "usr/share/doc/some-doc/html"
    html.mkdir(parents=True)
    for number in range(60):
        (html / f"{number}.html").write_text(page.format(f"part {number}"))
    (html / "copy.html").write_text(page.format("part 3"))
    (html / "genindex.html").write_text(page.format("the index"))
    (root / "usr/share/doc/some-doc/copyright").write_text("Format: x\n\nFiles: *\nLicense: GFDL-1.3\n text\n")
    package = debian.Package("some-doc", r"/html/.*\.html$")
    about = debian.build([(package, root, "1.0")], tmp_path / "out")
    assert about["some-doc"]["documents"] == 60
    rows = [json.loads(line) for line in (tmp_path / "out" / "some-doc.jsonl").read_text().splitlines()]
    assert rows[0]["text"].startswith("On part 0\n\nThe scheduler")
    assert "part 0 & more." in rows[0]["text"]
    assert not any(word in rows[0]["text"] for word in ("Next", "Index", "x()", "<"))
    assert sum("Permission" in row["text"] for row in rows) == 1  # a long paragraph stands once
    data = Files(path=str(tmp_path / "out"), seq_len=16, held_share=0.2)
    assert data.prepared.manifest["licence"]["some-doc"]["licences"] == ["GFDL-1.3"]
    with pytest.raises(UserError, match="has no file of the form"):
        debian.build([(debian.Package("some-doc", "nothing"), root, "1.0")], tmp_path / "out")


def test_markup_of_perl_and_of_manual_pages_is_stripped() -> None:
    from benchmarks import debian

    pod = "=head1 NAME\n\nperlfoo - a B<bold I<claim>> in L<perlvar|perlvar/x>, C<< a->b >>, E<lt>5\n\n"
    assert debian.strip_pod(f"{pod}=over 4\n\n=item one\n\nText.\n\n=back\n\n=cut\n") == (
        "NAME\n\nperlfoo - a bold claim in perlvar, a->b, <5\n\none\n\nText."
    )
    roff = '.\\" comment\n.TH X 3\n.SH "NAME"\nfoo \\- a \\fBbold\\fR \\(aqclaim\\(aq\n.PP\nMore.\n'
    assert debian.strip_roff(roff) == "\"NAME\"\n\nfoo - a bold 'claim'\n\nMore."
