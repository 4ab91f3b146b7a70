"""Speed of batches from a prepared corpus, beside torch's DataLoader, litdata and Arrow on the same batches.

    python benchmarks/feeding.py                  a corpus of a gigabyte, made here
    python benchmarks/feeding.py --size 1e8       of another size [bytes]
    python benchmarks/feeding.py --gpu            and onto a GPU

Batches of 64 windows of 256 tokens in the random order of a run, by one process with one thread; DataLoader and litdata
have two worker processes beside. Every way's first batches are compared with ours; litdata shares windows out to its
workers in another order. Asked for: 50 million tokens/s; the data of a run on a gigabyte ready in .2 s.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from isoflop.scaling.data.base import order
from isoflop.scaling.data.corpus import store
from isoflop.scaling.data.files import Shards

SEQ_LEN, BATCH = 256, 64
TOGETHER = 1000  # windows that litdata is handed at a time
# a measurement lasts at least so long [s]
LASTS_S = 4.0
# the ways that need a library of their own
RIVALS = {"litdata": "litdata", "arrow": "datasets"}


def corpus(folder: Path, size: int) -> Path:
    """Return a prepared corpus of random bytes."""
    rng = np.random.default_rng(0)
    about = {
        "key": "feeding",
        "documents": {"train": 1, "held_out": 1, "duplicates": 0},
        "duplicate_blocks": {"block": 256, "held_out": 0, "also_in_train": 0},
    }
    sides = (rng.integers(1, 255, n, dtype=np.uint8) for n in (size, 2**20))
    return store.write_arrays(folder / "prepared", about, *sides).folder


class Rows(Dataset[Tensor]):
    """The same windows as a dataset of torch, item by item."""

    def __init__(self, folder: Path, indices: np.ndarray) -> None:
        self.folder, self.indices, self.train = folder, indices, None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, at: int) -> Tensor:
        if self.train is None:
            self.train = store.open_prepared(self.folder).train
        tokens = self.train.slice(int(self.indices[at]) * SEQ_LEN, SEQ_LEN + 1)
        return torch.from_numpy(tokens.astype(np.int64))


def ours(folder: Path, device: str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches as a run takes them."""
    examples = Shards(path=str(folder), seq_len=SEQ_LEN).load().to(torch.device(device))
    for step in range(sys.maxsize):
        yield examples.take(order(0, step, BATCH, examples.n).to(device))


def loaded(folder: Path, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Return batches by torch's DataLoader with two workers."""
    indices = torch.cat([order(0, step, BATCH, n) for step in range(n // BATCH)]).numpy()
    loader = DataLoader(Rows(folder, indices), BATCH, num_workers=2, prefetch_factor=16)
    return ((rows[:, :-1], rows[:, 1:]) for rows in loader)


class Blocks:
    """The windows of some steps in their order, for litdata to write; each with the token that follows it too."""

    def __init__(self, folder: Path, indices: np.ndarray) -> None:
        self.folder, self.indices = folder, indices

    def __call__(self, part: int) -> Iterator[Tensor]:
        train = store.open_prepared(self.folder).train
        for index in self.indices[part * TOGETHER : (part + 1) * TOGETHER]:
            yield torch.from_numpy(np.array(train.slice(int(index) * SEQ_LEN, SEQ_LEN + 1)))


def streamed(folder: Path, work: Path, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches by litdata with two workers, from its own format, the windows in the order of a run."""
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader, optimize

    steps = min(n // BATCH, 20_000)
    indices = torch.cat([order(0, step, BATCH, n) for step in range(steps)]).numpy()
    settings = {"chunk_size": (SEQ_LEN + 1) * 2**15, "item_loader": TokensLoader(block_size=SEQ_LEN + 1)}
    parts, written = list(range(len(indices) // TOGETHER)), str(work / "litdata")
    optimize(Blocks(folder, indices), parts, written, num_workers=1, **settings)
    dataset = StreamingDataset(written, item_loader=TokensLoader(block_size=SEQ_LEN + 1), shuffle=False)
    return (
        (rows[:, :-1].long(), rows[:, 1:].long())
        for rows in StreamingDataLoader(dataset, batch_size=BATCH, num_workers=2)
    )


def tabled(folder: Path, work: Path, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches from a mapped Arrow file of `datasets`: a row is a window and the token that follows."""
    import datasets
    import pyarrow as pa

    train, schema = store.open_prepared(folder).train, pa.schema([("tokens", pa.list_(pa.uint8(), SEQ_LEN + 1))])
    with pa.OSFile(str(work / "rows.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for first in range(0, n, 2**16):
            rows = train.rows(np.arange(first, min(n, first + 2**16)) * SEQ_LEN, SEQ_LEN + 1)
            column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), SEQ_LEN + 1)
            writer.write_batch(pa.record_batch([column], schema=schema))
    table = datasets.Dataset.from_file(str(work / "rows.arrow")).with_format("numpy")
    for step in range(sys.maxsize):
        rows = torch.from_numpy(np.stack(table[order(0, step, BATCH, n).tolist()]["tokens"]).astype(np.int64))
        yield rows[:, :-1], rows[:, 1:]


def rate(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float, list[Tensor]]:
    """Return tokens a second, of the wall and of this process's processor, and the first batches."""
    taken = iter(batches)
    first = [y.cpu() for _, y in islice(taken, 50)]
    tokens, began, cpu = 0, time.monotonic(), time.process_time()
    for x, _ in taken:
        tokens += x.numel()
        if tokens % (SEQ_LEN * BATCH * 50) == 0 and time.monotonic() - began > LASTS_S:
            break
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return tokens / (time.monotonic() - began), tokens / (time.process_time() - cpu), first


def start_s(folder: Path) -> tuple[float, float]:
    """Return seconds, of the wall and the processor, until the first batch of a run is ready."""
    began, cpu = time.monotonic(), time.process_time()
    next(ours(folder))
    return time.monotonic() - began, time.process_time() - cpu


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of batches from a prepared corpus.")
    parser.add_argument("--size", type=float, default=1e9, help="bytes of the corpus")
    parser.add_argument("--gpu", action="store_true", help="onto a GPU too")
    parser.add_argument("--ways", default="ours,loader,litdata,arrow")
    given = parser.parse_args()
    torch.set_num_threads(1)
    work = Path(tempfile.mkdtemp(dir=os.environ.get("ISOFLOP_DATA")))
    try:
        folder = corpus(work, int(given.size))
        n = (int(given.size) - 1) // SEQ_LEN
        wall, cpu = start_s(folder)
        print(
            f"data of a run on {given.size:.2g} bytes ready in {wall:.3f} s ({cpu:.3f} s of the processor)", flush=True
        )
        ways: dict[str, tuple[str, Callable[[], Any]]] = {
            "ours": ("memory map, one process", lambda: ours(folder)),
            "loader": ("torch's DataLoader, two workers", lambda: loaded(folder, n)),
            "litdata": ("litdata, two workers", lambda: streamed(folder, work, n)),
            "arrow": ("Arrow of datasets, one process", lambda: tabled(folder, work, n)),
        }
        if given.gpu:
            ways["gpu"] = ("tokens on the GPU", lambda: ours(folder, "cuda"))
        reference: list[Tensor] = []
        for name in [*given.ways.split(","), *(["gpu"] if given.gpu else [])]:
            title, batches = ways[name]
            if (library := RIVALS.get(name)) and not importlib.util.find_spec(library):
                print(f"{title:>32}: not installed: pip install {library}", flush=True)
                continue
            per_wall, per_cpu, first = rate(batches())
            reference = reference or first
            same = all(torch.equal(a, b) for a, b in zip(first, reference, strict=True))
            print(
                f"{title:>32}: {per_wall / 1e6:7.1f} million tokens/s, {per_cpu / 1e6:7.1f} for each second of this "
                f"process's processor; {'the same batches' if same else 'other batches'}",
                flush=True,
            )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
