"""The embedded text: disjoint sides, nested prefixes, an order that only seed and step decide."""

from pathlib import Path

import numpy as np
import pytest
import torch

from isoflop.errors import UserError
from isoflop.scaling.data import text
from isoflop.scaling.data.base import order


def sides() -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the held-out side of the corpus."""
    prepared = text.prepared_library()
    train, held_out = (side.slice(0, side.tokens) for side in (prepared.train, prepared.held_out))
    return train, held_out


def test_the_corpus_is_of_the_size_that_the_docs_say() -> None:
    train, held_out = sides()
    assert 8e6 < len(train) < 40e6
    assert 0.02 < len(held_out) / len(train) < 0.1


def test_no_training_block_comes_from_a_held_out_file() -> None:
    root, files = text.sources()
    held = [f for f in files if text.is_held_out(f)]
    assert not [f for f in held if f.startswith("encodings/")]
    shuffled, held_out = sides()
    assert b"".join((root / f).read_bytes() for f in held) == held_out.tobytes()
    train = b"".join((root / f).read_bytes() for f in files if f not in set(held))
    blocks = np.frombuffer(train, np.uint8)[: len(shuffled)].reshape(-1, text.BLOCK)
    # the training side is those blocks and no others, in another order
    there = shuffled.reshape(-1, text.BLOCK)
    assert sorted(map(bytes, blocks)) == sorted(map(bytes, there))


def test_the_corpus_read_again_is_the_same() -> None:
    root, files = text.sources()
    assert all(map(np.array_equal, text.read(root, files), sides()))


def test_a_smaller_size_is_a_prefix_of_a_larger_one() -> None:
    small, large = text.Text(size=10_000, seq_len=64).load(), text.Text(size=50_000, seq_len=64).load()
    every = torch.arange(small.n)
    assert torch.equal(small.take(every)[0], large.take(every)[0])
    assert small.n == 10_000 // 64


def test_each_byte_is_a_target_once_and_follows_its_input() -> None:
    examples = text.Text(size=6_400, seq_len=64).load()
    x, y = examples.take(torch.arange(examples.n))
    stream = torch.from_numpy(sides()[0][: 6_400 + 1].copy()).long()
    assert torch.equal(y.flatten(), stream[1:])
    assert torch.equal(x.flatten(), stream[:-1])


def test_an_epoch_sees_every_example_once_and_each_epoch_in_another_order() -> None:
    n, batch = 103, 10
    seen = torch.cat([order(seed=3, step=s, batch=batch, n=n) for s in range(50)])
    first, second = seen[:n], seen[n : 2 * n]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(n))
    assert not torch.equal(first, second)


def test_the_order_depends_on_the_seed_and_on_nothing_before() -> None:
    late = order(seed=0, step=40, batch=16, n=100)
    for step in range(40):
        order(seed=0, step=step, batch=16, n=100)
    assert torch.equal(late, order(seed=0, step=40, batch=16, n=100))
    assert not torch.equal(late, order(seed=1, step=40, batch=16, n=100))


def test_the_held_out_set_is_fixed() -> None:
    one, other = text.Text(size=1_000).load().held_out(64), text.Text(size=2_000).load().held_out(64)
    assert sum(y.numel() for _, y in one) == 65536
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, other, strict=True))


def test_more_data_than_there_is_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.size=1000000000 is more than the \d+ training bytes there are"):
        text.Text(size=1_000_000_000).load()


def test_a_held_out_part_that_is_too_small_is_said() -> None:
    with pytest.raises(UserError, match=r"data\.eval_size=1000000000 is more than the \d+ held-out bytes there are"):
        text.Text(size=1_000, eval_size=1_000_000_000).load()


def test_hardly_a_held_out_window_stands_in_the_training_files() -> None:
    train, held = sides()[0].tobytes(), sides()[1]
    windows = [held[i : i + 256].tobytes() for i in range(0, len(held) - 256, 1024)]
    assert sum(window in train for window in windows) / len(windows) < 0.02


def test_a_torn_cache_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path))
    text.prepared_library.cache_clear()
    content = text.prepared_library().content
    (shard,) = tmp_path.glob("text-*/train-*.tokens")
    shard.write_bytes(shard.read_bytes()[:1000])
    text.prepared_library.cache_clear()
    assert text.prepared_library().content == content
    text.prepared_library.cache_clear()


def test_the_corpus_needs_no_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = text.prepared_library().content
    (tmp_path / "file").touch()
    monkeypatch.setenv("ISOFLOP_DATA", str(tmp_path / "file" / "no_folder"))
    text.prepared_library.cache_clear()
    assert text.prepared_library().content == content
    text.prepared_library.cache_clear()


def test_the_held_out_prose_is_the_same_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("another text\n" * 500)
    monkeypatch.chdir(tmp_path)
    prose = text.Text(held_out=["docs"]).others["docs"]
    # the content of the rows of studies/scaling
    assert (prose.content, prose.tokens("held_out")) == ("f0ad3db8874983ad", 219_521)
