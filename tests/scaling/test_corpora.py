"""A user's corpus: what is read, on which side it is, that it is tokenised once, and what is refused in a sentence."""

import base64
import gzip
import hashlib
import itertools
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Isoflop
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop import record
from isoflop.errors import UserError
from isoflop.scaling.config import identity, provenance
from isoflop.scaling.config.composed import container, register_resolvers, whole_as_int
from isoflop.scaling.config.contents import fingerprint
from isoflop.scaling.data import text
from isoflop.scaling.data.base import order
from isoflop.scaling.data.corpus import documents, parts, prepare, store, tokenizer
from isoflop.scaling.data.corpus.streams import SourceUnit, _character_end, pieces
from isoflop.scaling.data.files import Files, Shards
from isoflop.scaling.data.tokens import Tokens
from isoflop.scaling.data.windows import Windows

WORDS = ("the", "law", "of", "large", "numbers", "holds", "for", "every", "width", "and", "depth", "seen", "so", "far")


@pytest.fixture(autouse=True)
def store_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test prepares into a folder of its own."""
    monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path / "store"))


def text_of(number: int, words: int = 120) -> str:
    """A document of its own."""
    rng = random.Random(number)
    return " ".join(rng.choice(WORDS) for _ in range(words)) + f" {number}.\n"


def corpus(folder: Path, n: int = 80) -> Path:
    """A folder of n documents, each a file."""
    folder.mkdir(parents=True)
    for number in range(n):
        (folder / f"{number:03d}.{'md' if number % 2 else 'txt'}").write_text(text_of(number))
    return folder


def files(path: Path, **knobs: Any) -> Files:
    return Files(path=str(path), **{"seq_len": 16, "held_share": 0.2} | knobs)


def documents_of(data: Tokens, side: str) -> set[bytes]:
    """The documents of a side, cut at the byte that ends each."""
    tokens = getattr(data.prepared, side)
    return set(tokens.slice(0, tokens.tokens).tobytes().rstrip(b"\0").split(b"\0"))


def test_every_document_is_on_one_side_whole_and_once(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    (folder / "copy.txt").write_text(text_of(3))
    data = files(folder)
    train, held = documents_of(data, "train"), documents_of(data, "held_out")
    assert train | held == {text_of(number).encode() for number in range(80)}
    assert not train & held
    assert 5 <= len(held) <= 30
    assert data.prepared.manifest["documents"] == {"train": len(train), "held_out": len(held), "duplicates": 1}


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet", "txt.gz"])
def test_the_form_of_the_files_changes_nothing(tmp_path: Path, form: str) -> None:
    texts = [text_of(number) for number in range(80)]
    folder = tmp_path / "rows"
    folder.mkdir()
    rows = "".join(json.dumps({"id": n, "body": text}) + "\n" for n, text in enumerate(texts)).encode()
    if form == "parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        pa = pytest.importorskip("pyarrow")
        pq.write_table(pa.table({"body": texts}), folder / "rows.parquet", row_group_size=10)
    elif form == "txt.gz":
        for number, text in enumerate(texts):
            (folder / f"{number}.txt.gz").write_bytes(gzip.compress(text.encode()))
    else:
        pack = {"jsonl": bytes, "jsonl.gz": gzip.compress}.get(form)
        if pack is None:
            pack = pytest.importorskip("zstandard").ZstdCompressor().compress
        (folder / f"rows.{form}").write_bytes(pack(rows))
    plain = files(corpus(tmp_path / "corpus"))
    assert files(folder, field="body").prepared.content == plain.prepared.content


def test_a_single_file_is_cut_into_pieces_at_line_ends(tmp_path: Path) -> None:
    (tmp_path / "book").write_text(whole := "".join(text_of(number, 20) for number in range(400)))
    data = files(tmp_path / "book")
    both = documents_of(data, "train") | documents_of(data, "held_out")
    assert all(part.endswith(b"\n") for part in both)
    assert sum(map(len, both)) == len(whole)
    assert sorted(b"".join(both)) == sorted(whole.encode())


def test_pieces_of_a_line_without_end_are_cut_between_characters(tmp_path: Path) -> None:
    text = "añ€😀" * 1000
    (tmp_path / "line.txt").write_bytes(text.encode())
    with (tmp_path / "line.txt").open("rb") as stream:
        cut = list(pieces(stream, SourceUnit(()), 1001))
    assert "".join(part.decode() for part in cut) == text
    assert [_character_end("a€".encode()[:n]) for n in range(1, 5)] == [1, 1, 1, 4]


def test_the_size_of_each_of_many_small_files_is_looked_at_a_few_times() -> None:
    looks = itertools.count()

    class Small:
        path, kind, packing = "a.txt", ".txt", ""

        @property
        def size(self) -> int:
            next(looks)
            return 10

    source = documents.FileSource("corpus")
    vars(source)["files"] = [Small() for _ in range(2000)]
    assert [len(unit.files) for unit in source.units()] == [2000]
    assert next(looks) < 10 * 2000


def test_ranges_of_a_large_file_have_every_line_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.dumps({"text": text_of(number, 1 + number % 50)}) for number in range(300)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    source = documents.FileSource(str(tmp_path / "rows.jsonl"))
    whole = [document for unit in source.units() for document in source.read(unit)]
    for size in (97, 1000, 4096):
        monkeypatch.setattr(documents, "UNIT", size)
        units = source.units()
        assert len(units) > 5
        assert [document for unit in units for document in source.read(unit)] == whole


def test_a_source_in_another_process_cuts_files_alike_without_their_list(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("".join(text_of(number, 20) for number in range(400)))
    source = documents.FileSource(str(tmp_path / "book.txt"))
    (unit,) = source.units()
    sent = pickle.loads(pickle.dumps(source))
    assert "files" not in vars(sent)
    assert list(sent.read(unit)) == list(source.read(unit))


@pytest.mark.parametrize("line", [1, 57, 120])
def test_a_bad_row_is_named_by_its_line_in_whichever_range_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: int
) -> None:
    rows = [json.dumps({"text": text_of(number, 1 + number % 50)}) for number in range(120)]
    rows[line - 1] = "{half"
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    monkeypatch.setattr(documents, "UNIT", 1000)
    source = documents.FileSource(str(tmp_path / "rows.jsonl"))
    with pytest.raises(UserError, match=rf"rows\.jsonl, line {line}, is not JSON"):
        list(itertools.chain.from_iterable(map(source.read, source.units())))


def test_shards_are_read_as_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = files(corpus(tmp_path / "corpus")).load()
    every = torch.arange(one.n)
    monkeypatch.setattr(store, "SHARD", 1000)
    monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path / "other"))
    many = files(tmp_path / "corpus").load()
    assert len(many.train.shards) > 10
    assert all(torch.equal(a, b) for a, b in zip(one.take(every), many.take(every), strict=True))


def test_a_smaller_size_is_a_prefix_and_has_the_same_held_out_windows(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    small, large = files(folder, size=1600).load(), files(folder, size=8000).load()
    every = torch.arange(small.n)
    assert small.n == 100
    assert torch.equal(small.take(every)[0], large.take(every)[0])
    pairs = zip(small.held_out(64), large.held_out(64), strict=True)
    assert all(torch.equal(a[0], b[0]) for a, b in pairs)
    assert files(folder, size=8000).unique == 8000


def test_what_a_corpus_is_does_not_depend_on_where_it_lies_or_on_its_names(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    prepared = files(folder).prepared
    (folder / "000.txt").rename(folder / "renamed.txt")
    shutil.move(folder, tmp_path / "elsewhere")
    assert files(tmp_path / "elsewhere").prepared.folder == prepared.folder


def test_a_run_is_known_by_what_is_in_the_corpus_and_not_by_its_path(tmp_path: Path) -> None:
    def run_id(path: Path, *more: str) -> str:
        register_resolvers()
        overrides = ["data=files", f"data.path={path}", *more]
        with initialize_config_module("isoflop.conf", version_base="1.3"):
            cfg = compose("train", overrides, return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            whole = {str(key): whole_as_int(container(cfg[key])) for key in cfg if key != "hydra"}
        return identity.run_id(whole)

    one, other = corpus(tmp_path / "one"), corpus(tmp_path / "other")
    first = run_id(one)
    assert run_id(other) == first
    assert run_id(one, "data.licence=MIT") == first
    (other / "000.txt").write_text("edited\n")
    assert run_id(other) != first
    assert run_id(one, "data.held_share=0.1") != first


def test_a_run_is_refused_where_its_corpus_has_changed_since(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    frozen = str(fingerprint(folder, (), "bytes"))
    (folder / "000.txt").write_text("edited\n")
    with pytest.raises(UserError, match=r"data\.path=.* has changed \(data\.version=.*\); rerun the command"):
        files(folder, version=frozen).load()


def test_a_corpus_is_tokenised_once_and_its_files_stay_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = corpus(tmp_path / "corpus")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    first = files(folder).prepared
    assert "preparing" in capsys.readouterr().err
    monkeypatch.setattr(prepare, "tokenise", None)
    assert files(folder).prepared.content == first.content
    assert not capsys.readouterr().err
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


def vocabulary(data: Files) -> set[bytes]:
    """The tokens of a dataset's byte pairs."""
    assert data.prepared.tokenizer_file is not None
    lines = data.prepared.tokenizer_file.read_bytes().splitlines()
    return {base64.b64decode(line.split()[0]) for line in lines}


@pytest.fixture
def pairs() -> None:
    """What byte pairs need."""
    pytest.importorskip("tokenizers")
    pytest.importorskip("tiktoken")


@pytest.mark.usefixtures("pairs")
def test_byte_pairs_are_learned_from_the_training_side_alone(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    for number in range(100, 300):  # a word that no document of the training side has
        text = "zyzzyva " * 50 + text_of(number)
        if parts.is_held_out(parts.hash_of(text.encode()), 0.2):
            (folder / f"{number}.txt").write_text(text)
    tokens = vocabulary(files(folder, tokenizer="bpe", vocab_size=330))
    assert b" numbers" in tokens
    assert not any(b"zz" in token for token in tokens)
    assert len(tokens) == 329  # and the end of a document


@pytest.mark.usefixtures("pairs")
def test_byte_pairs_are_learned_alike_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = files(corpus(tmp_path / "corpus"), tokenizer="bpe", vocab_size=330)
    contents = []
    for name in ("one", "other"):
        monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path / name))
        contents.append(data.prepare().content)
    assert contents[0] == contents[1]


@pytest.mark.usefixtures("pairs")
def test_bits_per_byte_count_the_bytes_of_the_targets(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    data = files(folder, tokenizer="bpe", vocab_size=330)
    loaded = tokenizer.load(data.prepared.tokenizer_file)
    assert isinstance(loaded, tokenizer.Tiktoken)
    targets = torch.cat([y for _, y in data.load().held_out(64)]).flatten().tolist()
    text = loaded.encoding.decode([token for token in targets if token != loaded.end])
    assert data.task.bytes_per_target == pytest.approx(len(text.encode()) / len(targets))
    assert data.task.d_in == 330
    assert files(folder).task.bytes_per_target == pytest.approx(1.0, abs=0.01)


def test_a_tokenizer_json_gives_its_own_tokens(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = corpus(tmp_path / "corpus")
    theirs = tokenizers.ByteLevelBPETokenizer()
    texts = [path.read_text() for path in folder.iterdir()]
    theirs.train_from_iterator(texts, 320, special_tokens=["</s>"], show_progress=False)
    theirs.save(str(tmp_path / "tokenizer.json"))
    data = files(folder, tokenizer=str(tmp_path / "tokenizer.json"))
    side = data.prepared.train
    tokens = side.slice(0, side.tokens).tolist()
    documents = theirs.decode(tokens, skip_special_tokens=False).split("</s>")
    assert {text.encode() for text in documents if text} == documents_of(files(folder), "train")
    assert tokens.count(0) == data.prepared.manifest["documents"]["train"]
    lengths = data.prepared.lengths
    assert lengths is not None
    assert lengths[tokens].sum() == data.prepared.manifest["bytes"]["train"]


def test_a_file_of_tiktoken_gives_its_own_tokens(tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, b" th": 257, b" the": 258}
    lines = [base64.b64encode(token) + b" %d" % rank for token, rank in ranks.items()]
    (tmp_path / "ranks.tiktoken").write_bytes(b"\n".join(lines))
    data = files(corpus(tmp_path / "corpus"), tokenizer=str(tmp_path / "ranks.tiktoken"))
    encoding = tiktoken.Encoding("x", pat_str=tokenizer.CL100K, mergeable_ranks=ranks, special_tokens={"<e>": 259})
    side = data.prepared.train
    texts = encoding.decode(side.slice(0, side.tokens).tolist()).split("<e>")
    assert {text.encode() for text in texts if text} == documents_of(files(tmp_path / "corpus"), "train")
    lengths = data.prepared.lengths
    assert lengths is not None
    assert lengths[[256, 258, 259]].tolist() == [2, 4, 0]


def test_copies_across_the_split_are_counted(tmp_path: Path) -> None:
    shared = "".join(text_of(number) for number in range(5))
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number}.txt").write_text(shared + text_of(number))
    blocks = files(folder).prepared.manifest["duplicate_blocks"]
    # of every document the blocks of the shared beginning, none of its own end
    per_document = len(shared + text_of(0)) // parts.BLOCK
    assert blocks["held_out"] >= per_document
    assert 0.6 < blocks["also_in_train"] / blocks["held_out"] < 1
    assert files(corpus(tmp_path / "other")).prepared.manifest["duplicate_blocks"]["also_in_train"] == 0


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_what_a_held_out_set_shares_with_another_corpus_is_found_wherever_it_lies(kind: Any) -> None:
    numbers = np.random.default_rng(0)
    text, other = (numbers.integers(1, 250, n).astype(kind) for n in (400_000, 100_000))
    train = store.Side([text[:250_000], text[250_000:]])  # across a border of shards
    assert parts.share(train, store.Side([text[200_003:300_001]])) == 1
    assert parts.share(train, store.Side([other])) == 0
    half = store.Side([np.concatenate((text[7:100_007], other))])
    assert parts.share(train, half) == pytest.approx(0.5, abs=0.1)
    assert parts.share(train, store.Side([text[:100]])) is None


def test_a_held_out_set_that_was_trained_on_is_said_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = corpus(tmp_path / "corpus")
    monkeypatch.setattr(parts, "SAMPLED", 16)
    data = files(folder, held_out={"copy": str(folder), "own": str(files(folder).prepared.folder)})
    data.refuse(batch=1)
    line = r"data\.held_out: copy: \d+ % of its blocks of 256 tokens are in the training side too"
    assert re.search(line, capsys.readouterr().err)
    data.refuse(batch=1)  # as each run of a sweep does, in a process of its own
    assert not capsys.readouterr().err
    facts = data.load().facts
    # all documents, of which a twentieth is held out; and that twentieth alone
    assert 0.5 < facts["data.duplicate_blocks.copy"] < 1
    assert facts["data.duplicate_blocks.own"] == 0
    # it is remembered
    monkeypatch.setattr(parts, "share", None)
    assert data.load().facts == facts


def test_several_held_out_sets_are_columns(isoflop: Isoflop, tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    (tmp_path / "docs.txt").write_text("".join(text_of(number) for number in range(900, 960)))
    sets = f"{{text:text,docs:{tmp_path}/docs.txt,same:{files(folder).prepared.folder}}}"
    data = ["data=files", f"data.path={folder}", f"data.held_out={sets}", "data.held_share=0.2"]
    run = ["train", "family=mlp", "family.width=8", "family.depth=1", "budget.D=1e3", *TINY, *data]
    done = isoflop(*run, f"out={tmp_path}/runs")
    assert done.returncode == 0, done.stderr
    assert "preparing" in done.stderr
    (path,) = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    (row,) = record.read(path)
    for name in ("text", "docs"):
        assert row[f"L.{name}"] > 0
        assert row[f"L_se.{name}"] > 0
        assert row[f"L_bpb.{name}"] == pytest.approx(row[f"L.{name}"] / np.log(2), rel=0.02)
    assert row["L.same"] == row["L"]
    assert row["L_se.same"] == row["L_se"]
    assert row["L_bpb.same"] == row["L_bpb"]
    assert row["data.content.same"] == row["data.content"]
    assert row["L_bpb"] == pytest.approx(row["L"] / np.log(2), rel=0.02)
    assert isoflop(*run, f"out={tmp_path}/runs").stderr.startswith("done already")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_tokens_that_a_device_holds_are_those_of_the_map(kind: Any) -> None:
    most = min(np.iinfo(kind).max, 2**20)
    tokens = np.random.default_rng(0).integers(0, most, 1000).astype(kind)
    tokens[7] = most
    examples = Windows(store.Side([tokens[:400], tokens[400:800], tokens[800:]]), 99, 10, {}, {})
    every = torch.randperm(99)
    mapped = examples.take(every)
    assert mapped[0].max() == most
    examples.hold()
    assert all(torch.equal(a, b) for a, b in zip(examples.take(every), mapped, strict=True))


def test_a_corpus_of_an_extension_has_a_name(isoflop: Isoflop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = corpus(tmp_path / "corpus"), corpus(tmp_path / "other", n=60)
    (tmp_path / "lab" / "conf" / "data").mkdir(parents=True)
    (tmp_path / "lab" / "conf" / "data" / "mine.yaml").write_text(
        f"defaults: [files]\npath: {other}\nheld_share: 0.2\n"
    )
    monkeypatch.setenv("ISOFLOP_EXTENSIONS", str(tmp_path / "lab"))
    docs = files(folder, held_out=["mine"]).others["mine"]
    assert docs.content == files(other).prepared.content
    done = isoflop("prepare", "data=mine", f"data.held_out=[{folder}]", "data.seq_len=16")
    assert done.returncode == 0, done.stderr
    assert f"{docs.folder}: {docs.tokens('train')} tokens to train on" in done.stderr


@pytest.mark.usefixtures("pairs")
def test_the_embedded_text_is_a_held_out_set_in_any_tokens(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    there = text.prepared_library().tokens("held_out")
    for knobs in ({}, {"tokenizer": "bpe", "vocab_size": 300}):
        other = files(folder, held_out=["text"], **knobs).others["text"]
        assert other.manifest["bytes"]["held_out"] == pytest.approx(there, rel=0.01)
        tokens = other.held_out.slice(0, other.held_out.tokens)
        assert other.bytes_per_token(tokens) * len(tokens) == pytest.approx(there, rel=0.01)


def test_every_epoch_sees_all_of_a_subset_in_another_order(tmp_path: Path) -> None:
    examples = files(corpus(tmp_path / "corpus"), size=160).load()
    steps = [examples.take(order(seed=7, step=step, batch=2, n=examples.n))[0] for step in range(examples.n)]
    first, second = torch.cat(steps[: examples.n // 2]), torch.cat(steps[examples.n // 2 :])
    assert len(first) == examples.n == 10
    assert sorted(first.tolist()) == sorted(second.tolist())
    assert not torch.equal(first, second)


def test_the_batch_of_a_step_depends_on_nothing_but_seed_and_step(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    through = files(folder).load()
    batches = [through.take(order(1, step, 8, through.n)) for step in range(6)]
    resumed = files(folder).load()  # in another process, from the middle
    x, y = resumed.take(order(1, 4, 8, resumed.n))
    assert torch.equal(x, batches[4][0])
    # ranks and micro-batches take their share of the same batch (loop/module.py)
    for ranks, micro in ((2, 4), (1, 3), (3, 2)):
        shares = [part for share in y.tensor_split(ranks) for part in share.split(micro)]
        assert torch.equal(torch.cat(shares), batches[4][1])


@pytest.mark.nightly
def test_two_ranks_and_micro_batches_have_the_loss_of_one(isoflop: Isoflop, tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    common = ["data=files", f"data.path={folder}", "data.held_share=0.2", "family=mlp", "family.width=8", *TINY]
    losses = {}
    for name, more in {"one": [], "micro": ["trainer.micro_batch=1"], "ranks": ["trainer.devices=2"]}.items():
        done = isoflop("train", *common, "family.depth=1", "budget.D=640", *more, f"out={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
        (path,) = [path for path in (tmp_path / name).iterdir() if path.is_dir()]
        losses[name] = record.read(path)[-1]["L"]
    assert losses["micro"] == pytest.approx(losses["one"], rel=1e-5)
    assert losses["ranks"] == pytest.approx(losses["one"], rel=1e-5)


PREPARE = """
import sys
from isoflop.scaling.data.corpus import documents, store
documents.UNIT, store.SHARD = 20_000, 50_000
from isoflop.scaling.data.files import Files
if __name__ == "__main__":
    print(Files(path=sys.argv[1], seq_len=16).prepare(workers=1).content)
"""


def rows_file(path: Path, n: int) -> Path:
    path.write_text("".join(json.dumps({"text": text_of(number)}) + "\n" for number in range(n)))
    return path


def start(path: Path, home: Path) -> "subprocess.Popen[str]":
    """Begin to prepare a file in a process of its own."""
    command, env = [sys.executable, "-c", PREPARE, str(path)], os.environ | {"ISOFLOP_DATA": str(home)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.nightly
def test_killed_at_random_it_ends_at_the_same_hash(tmp_path: Path) -> None:
    path, killed, rng = rows_file(tmp_path / "rows.jsonl", 600), 0, random.Random(0)
    content = start(path, tmp_path / "whole").communicate()[0]
    assert len(content.strip()) == 16
    for made in (1, rng.randrange(2, 8), rng.randrange(8, 16)):
        with start(path, tmp_path / "killed") as process:
            # by what it has made, as its pace is the machine's
            while process.poll() is None and sum(1 for _ in (tmp_path / "killed").rglob("parts/*.npz")) < made:
                time.sleep(0.002)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    assert start(path, tmp_path / "killed").communicate()[0] == content
    assert not list((tmp_path / "killed").rglob(".*")), "what was under way is left behind"


def test_a_kill_among_parts_that_are_thrown_away_leaves_none_without_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rows_file(tmp_path / "rows.jsonl", 100)
    monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path / "home"))
    remove = shutil.rmtree

    def struck(folder: Path, *_: object, **__: object) -> None:
        tokens = sorted(folder.glob("*.tokens"))
        if tokens:
            tokens[0].unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", struck)
    with pytest.raises(KeyboardInterrupt):
        Files(path=str(path), seq_len=16).prepare(workers=1)
    monkeypatch.setattr(shutil, "rmtree", remove)
    made = Files(path=str(path), seq_len=16).prepare(workers=1)
    monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path / "other"))
    assert Files(path=str(path), seq_len=16).prepare(workers=1).content == made.content


def test_two_processes_prepare_once(tmp_path: Path) -> None:
    path = rows_file(tmp_path / "rows.jsonl", 300)
    both = [start(path, tmp_path / "home") for _ in range(2)]
    printed = [process.communicate() for process in both]
    assert printed[0][0] == printed[1][0] != ""
    assert sum("preparing" in errors for _, errors in printed) == 1


def test_several_processes_make_the_same_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "UNIT", 20_000)
    data = files(rows_file(tmp_path / "rows.jsonl", 150))
    one = data.prepare(workers=1)
    monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path / "other"))
    assert data.prepare(workers=2).content == one.content


def test_a_prepared_folder_is_a_dataset_of_its_own(isoflop: Isoflop, tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    data = files(folder)
    shutil.copytree(data.prepared.folder, tmp_path / "copied")
    moved = Shards(path=str(tmp_path / "copied"), seq_len=16)
    every = torch.arange(moved.load().n)
    assert torch.equal(moved.load().take(every)[0], data.load().take(every)[0])
    manifest = json.loads(isoflop("prepare", "data=shards", f"data.path={tmp_path}/copied", "--json").stdout)
    assert manifest["content"] == data.prepared.content
    assert manifest["tokens"]["train"] == moved.prepared.tokens("train")


def test_the_manifest_says_what_was_prepared(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    (folder / "LICENCES.json").write_text('{"all": "CC0-1.0"}')
    about = files(folder).prepared.manifest
    assert about["licence"] == {"all": "CC0-1.0"}
    assert "sha256" in about["split"].lower().replace("-", "")
    assert about["source"]["files"] == 80
    assert sum(about["bytes"].values()) == sum(len(text_of(number)) for number in range(80))
    assert files(folder, licence="MIT", held_share=0.3).prepared.manifest["licence"] == "MIT"
    shard = about["shards"][0]
    path = files(folder).prepared.folder / shard["name"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]


def damage(folder: Path, how: str) -> None:
    """Alter a prepared corpus."""
    path = next(folder.glob("train-*"))
    raw = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(raw[:-1])
    elif how == "altered":
        raw[10] ^= 1
        path.write_bytes(raw)
    elif how == "missing":
        path.unlink()
    elif how == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["tokenizer"]["vocab_size"] = 100
        (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("truncated", "has .* bytes, but .* were written; delete its folder"),
        ("altered", "is not what was written; delete its folder"),
        ("missing", "is missing; delete its folder"),
        ("manifest", "is not a prepared corpus: it has no whole manifest.json"),
        ("tokeniser", r"holds token \d+, but its tokeniser has 100; the tokeniser does not fit the shards"),
    ],
)
def test_a_corpus_that_was_damaged_is_refused(tmp_path: Path, how: str, said: str) -> None:
    prepared = files(corpus(tmp_path / "corpus")).prepared
    damage(prepared.folder, how)
    with pytest.raises(UserError, match=said):
        Shards(path=str(prepared.folder), seq_len=16).load()


@pytest.mark.usefixtures("pairs")
def test_shards_of_another_tokeniser_are_refused(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    learned, plain = files(folder, tokenizer="bpe", vocab_size=300).prepared, files(folder).prepared
    with pytest.raises(UserError, match=r"tokenizer\.tiktoken does not fit the shards of .*, made by bytes"):
        Shards(path=str(plain.folder), tokenizer=str(learned.tokenizer_file), seq_len=16).load()
    with pytest.raises(UserError, match=r"=bytes does not fit the shards of .*, made by tokenizer\.tiktoken"):
        Shards(path=str(learned.folder), tokenizer="bytes", seq_len=16).load()


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


MANY = "".join(f"line {number}\n" for number in range(9999))
GOOD = '{"text": "one"}\n'
BAD = [
    ("nothing/here", None, {}, "data.path=.*nothing/here is not there; name a file or a folder"),
    ("empty.txt", "", {}, "the corpus is empty: no document has a character in it"),
    ("a/image.png", "x", {"folder": True}, "holds no file .* ends in .txt, .md, .jsonl, .parquet"),
    ("bad.jsonl", GOOD * 2 + "{half\n", {}, r"bad.jsonl, line 3, is not JSON"),
    ("field.jsonl", GOOD + '{"body": "two"}\n', {}, "line 2, has no text in 'text'; it has body; give data.field="),
    ("list.jsonl", "[1]\n", {}, "line 1, is not an object with fields"),
    ("number.jsonl", '{"text": 3}\n', {}, "line 1, has 3 in 'text', which is no text"),
    ("latin.txt", "naïve".encode("latin-1") * 9, {}, "latin.txt is not UTF-8: .*0xef.* give data.encoding=latin-1"),
    ("x.txt", "abc", {"encoding": "no-such"}, "cannot be read as data.encoding=no-such"),
    ("torn.txt.gz", gzip.compress(b"text" * 9999)[:-20], {}, "torn.txt.gz cannot be read"),
    ("fake.jsonl.gz", "plain", {}, "fake.jsonl.gz cannot be read"),
    ("fake.parquet", "plain", {}, "fake.parquet is not a Parquet file"),
    ("one.jsonl", GOOD, {}, "of 1 different documents none is on the held-out side"),
    ("t.txt", "abc", {"tokenizer": "gone.json"}, "data.tokenizer=gone.json is not there"),
    ("t.txt", "abc\n" * 999, {"tokenizer": "SELF"}, "is not a tokenizer.json|is not a file of tiktoken"),
    ("big.txt", MANY, {"size": 10**6}, "data.size=1000000 is more than the .* training bytes there are"),
    ("big.txt", MANY, {"eval_size": 10**6}, "data.eval_size=1000000 is more than the .* held-out bytes"),
    ("big.txt", "a longer line\n" * 99, {"seq_len": 2**15}, "less than an example of data.seq_len"),
]


@pytest.mark.parametrize(("name", "content", "knobs", "said"), BAD, ids=[f"{n} {i}" for i, (n, *_) in enumerate(BAD)])
def test_what_cannot_be_a_corpus_is_one_sentence(
    tmp_path: Path, name: str, content: str | bytes | None, knobs: dict[str, Any], said: str
) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    if "tokenizer" in knobs:
        pytest.importorskip("tokenizers")
        pytest.importorskip("tiktoken")
    path = str(tmp_path / name) if content is None else written(tmp_path, name, content)
    knobs = {k: path if v == "SELF" else v for k, v in knobs.items() if k != "folder"}
    if name.startswith("a/"):
        path = str(Path(path).parent)
    with pytest.raises(UserError, match=said) as refusal:
        Files(path=path, **{"seq_len": 4} | knobs).load()
    assert "\n" not in str(refusal.value)


def test_a_field_that_a_parquet_file_has_not_is_named(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"body": ["one"], "n": [1]}), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet has no column 'text'; it has body, n; give data.field="):
        files(tmp_path / "rows.parquet").load()
    with pytest.raises(UserError, match="the column 'n' holds no text"):
        files(tmp_path / "rows.parquet", field="n").load()


def test_another_encoding_is_read_where_it_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "latin"
    folder.mkdir()
    for number in range(80):
        (folder / f"{number}.txt").write_bytes(("naïve " + text_of(number)).encode("latin-1"))
    assert all(b"na\xc3\xafve" in part for part in documents_of(files(folder, encoding="latin-1"), "train"))


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["data=files", "data.path=nowhere"], "data.path=nowhere is not there"),
        (["data=files", "data.path=CORPUS", "recipe.batch=4096"], "recipe.batch=4096 is more than the"),
        (["data=files", "data.path=CORPUS", "data.held_out=[nowhere]"], "data.held_out=nowhere is neither there nor"),
    ],
)
def test_a_run_without_its_corpus_is_refused_before_it_starts(
    isoflop: Isoflop, tmp_path: Path, given: list[str], said: str
) -> None:
    folder = corpus(tmp_path / "corpus")
    words = [word.replace("CORPUS", str(folder)) for word in given]
    done = isoflop("train", "family=mlp", *TINY[:1], *TINY[3:], *words, f"out={tmp_path}/runs")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("isoflop: ")]
    assert len(lines) == 1
    assert re.search(said, lines[0])
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["digits"], "data.held_out=digits is not text; name a corpus, or a path"),
        (["nowhere"], "data.held_out=nowhere is neither there nor one of "),
        (["PATH/a.txt", "PATH/a.md"], "names two sets alike; give names: data.held_out={a:PATH}"),
        ({"short": "PATH/short.txt"}, "the held-out set short has 6 tokens, less than two examples"),
    ],
)
def test_held_out_sets_that_cannot_be_had_are_one_sentence(tmp_path: Path, given: Any, said: str) -> None:
    folder = corpus(tmp_path / "corpus")
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(UserError, match=re.escape(said)):
        Files(path=str(folder), seq_len=16, held_share=0.2, held_out=placed(given, tmp_path)).refuse(batch=1)


def placed(given: Any, path: Path) -> Any:
    """A list or mapping of places, with PATH filled in."""
    if isinstance(given, dict):
        return {name: place.replace("PATH", str(path)) for name, place in given.items()}
    return [place.replace("PATH", str(path)) for place in given]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda: Files(), "data=files needs a file or a folder"),
        (lambda: Shards(), "data=shards needs a folder that isoflop prepare made"),
        (lambda: Shards(path="nowhere").load(), "nowhere is not a prepared corpus"),
        (lambda: Files(path="x", held_share=0.0).load(), "is not there"),
        (
            lambda: Files(path=__file__, held_share=0.0).load(),
            "data.held_share=0.0 is not a number above 0 and up to 1",
        ),
        (lambda: Files(path="x", vocab_size=3, seq_len=2, eval_size=3), "is not a whole number of at least 4"),
        (lambda: Files(path=__file__, vocab_size=3).load(), "data.vocab_size=3 is not a whole number of at least 257"),
    ],
)
def test_knobs_that_cannot_be_are_refused(data: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        data()


def test_an_edit_of_how_a_corpus_is_prepared_is_other_code_for_corpora_alone() -> None:
    def used(module: str) -> frozenset[str]:
        return provenance._used((f"isoflop.scaling.data.{module}",))

    for module in ("text", "files", "hf"):
        assert {"data/tokens.py", "data/corpus/store.py", "data/corpus/prepare.py"} <= used(module)
    assert {"data/corpus/documents.py", "data/corpus/tokenizer.py"} <= used("files")
    assert "data/corpus/prepare.py" not in used("synthetic.digits")
    always = [*provenance.ROOM.glob("*.py"), *provenance.ROOM.glob("loop/*.py")]
    imported = {module for path in always for module in provenance._imports(path)}
    assert "isoflop.scaling.data.base" in imported
    assert not any("corpus" in module or module.endswith(".tokens") for module in imported if path_of(module))


def path_of(module: str) -> bool:
    """Whether a name is that of a module of ours."""
    name = module.removeprefix("isoflop.scaling.").replace(".", "/") + ".py"
    return (provenance.ROOM / name).is_file()
