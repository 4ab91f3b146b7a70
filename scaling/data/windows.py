"""Examples cut from tokens: windows of seq_len side by side, in memory, mapped from disk, or on a GPU.

stream = Side([np.arange(101, dtype=np.uint8)])
examples = Windows(stream, n=10, seq_len=10, held_out={"": np.zeros((4, 11), np.uint8)}, facts={})
examples.take(torch.tensor([3]))[1]            # (1, 10) tokens, 31 ... 40: those that follow 30 ... 39
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoflop.scaling.data.corpus.store import Side
from isoflop.scaling.hardware import RUNS_PER_GPU

# of the memory that is free on a device, what the tokens may take: the model is there too
MOST_OF_DEVICE = 0.5
# torch indexes no unsigned numbers but bytes
SIGNED = {"uint8": np.uint8, "uint16": np.int16, "uint32": np.int32}

Facts = dict[str, str | int | float]


class Windows:
    """Training windows on the tokens of a side, and held-out ones, (windows, seq_len + 1), by set, "" that of L."""

    def __init__(
        self,
        train: Side,
        n: int,
        seq_len: int,
        held_out: Mapping[str, NDArray[Any]],
        facts: Facts,
        device: torch.device | None = None,
    ) -> None:
        self.train, self.n, self.seq_len, self.facts = train, n, seq_len, facts
        self.held_out_tokens, self.device = held_out, device or torch.device("cpu")
        self.stream: Tensor | None = None
        if self.device.type != "cpu" and self.fits():
            self.hold()

    def hold(self) -> None:
        """Put the tokens on the device."""
        # those of 16 bits may be negative
        tokens = np.array(self.train.slice(0, self.n * self.seq_len + 1))
        self.stream = torch.from_numpy(tokens.view(SIGNED[tokens.dtype.name])).to(self.device)
        self.offsets = torch.arange(self.seq_len + 1, device=self.device)
        self.mask = 0xFFFF if self.stream.dtype == torch.int16 else None

    def fits(self) -> bool:
        """Return whether the tokens fit on the device beside a model."""
        size = (self.n * self.seq_len + 1) * self.train.shards[0].itemsize
        if self.device.type != "cuda":
            return True  # a Mac's device has the memory of the host
        shared_by = int(os.environ.get(RUNS_PER_GPU, "1"))
        return size < MOST_OF_DEVICE * torch.cuda.mem_get_info(self.device)[0] / shared_by

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows by index: (batch, seq) tokens and the tokens that follow each."""
        if self.stream is not None:
            rows = self.stream[indices[:, None] * self.seq_len + self.offsets].long()
            rows = rows if self.mask is None else rows & self.mask
        else:
            tokens = self.train.rows(indices.cpu().numpy() * self.seq_len, self.seq_len + 1)
            rows = torch.from_numpy(tokens.astype(np.int64)).to(self.device)
        return rows[:, :-1], rows[:, 1:]

    def held_out(self, batch: int, name: str = "") -> list[tuple[Tensor, Tensor]]:
        """Return the same windows every time, spread evenly over a held-out set."""
        rows = torch.from_numpy(self.held_out_tokens[name].astype(np.int64)).to(self.device)
        return [(part[:, :-1], part[:, 1:]) for part in rows.split(batch)]

    def other_sets(self) -> list[str]:
        return [name for name in self.held_out_tokens if name]

    def to(self, device: torch.device) -> "Windows":
        """Return the same examples on a device: with the tokens if they fit, else a batch at a time."""
        return Windows(self.train, self.n, self.seq_len, self.held_out_tokens, self.facts, device)
