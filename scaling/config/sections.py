"""The sections of a frozen config that every run has, and the plan of a run (no torch).

Trainer(devices=2, strategy="fsdp").halved_micro_batch(64)        # 16
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from isoflop.checks import not_negative, one_of, whole_number
from isoflop.errors import UserError

Knobs = Mapping[str, Any]


@dataclass(frozen=True)
class Names:
    """The yamls that were chosen."""

    family: str
    data: str
    recipe: str

    def of(self, group: str) -> str:
        return str(getattr(self, group))


@dataclass(frozen=True)
class Trainer:
    """Where and how a run is placed; nothing here changes a result but by the order of sums."""

    accelerator: str = "auto"
    devices: int = 1
    """Devices of one run, each with its share of every batch."""
    strategy: str = "ddp"
    """Of several devices: ddp, each holds the model; fsdp, each holds a part of it."""
    micro_batch: int | None = None
    """Examples at a time on a device; None for all at once."""
    checkpoint_every_s: float = 300
    """Time between checkpoints [s]."""
    keep: str = "nothing"
    """What stays of a finished run besides its record: nothing, or the weights of its marks."""
    graph: bool = False
    """Whether a whole step is captured as a CUDA graph and replayed."""
    deterministic: bool = False
    """Whether kernels are asked for that give the same bits again on a GPU; slower."""
    compile: bool | str = False
    """Whether the model's passes are compiled; auto for where that saves time."""

    def __post_init__(self) -> None:
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "mps"))
        one_of("trainer.strategy", self.strategy, ("ddp", "fsdp"))
        one_of("trainer.keep", self.keep, ("nothing", "marks"))
        for name in ("graph", "deterministic"):
            if not isinstance(value := getattr(self, name), bool):
                raise UserError(f"trainer.{name}={value} is neither true nor false")
        one_of("trainer.compile", self.compile, (True, False, "auto"))
        whole_number("trainer.devices", self.devices)
        if self.strategy == "fsdp" and self.devices == 1:
            raise UserError("trainer.strategy=fsdp shards over several devices; give trainer.devices=2, say")
        not_negative("trainer.checkpoint_every_s", self.checkpoint_every_s, " [s]")
        if self.micro_batch is not None:
            whole_number("trainer.micro_batch", self.micro_batch)

    def halved_micro_batch(self, batch: int) -> int | None:
        """Return the next smaller micro-batch of a run with this batch [examples]; None below one."""
        return (self.micro_batch or -(-batch // self.devices)) // 2 or None


@dataclass(frozen=True)
class Logger:
    """Where a run is mirrored: nowhere, in W&B, or for TensorBoard or as a CSV in its folder."""

    name: str = "none"
    project: str = "isoflop"
    """Of W&B; as is entity, whose project it is, the one of the login by default."""
    entity: str | None = None
    offline: bool = False
    """Whether W&B writes into the run's folder alone."""

    def __post_init__(self) -> None:
        one_of("logger.name", self.name, ("none", "wandb", "tensorboard", "csv"))
        if not isinstance(self.offline, bool):
            raise UserError(f"logger.offline={self.offline} is neither true nor false")


@dataclass(frozen=True)
class PlannedMark:
    """A mark of a run that is planned: the value of its budget, and the D and C of the equivalent separate run."""

    value: float
    D: int
    C: float


@dataclass(frozen=True)
class RunPlan:
    """What a run will be: what the left side says of it before it is made (estimate.py)."""

    N: int
    """Parameters that multiply."""
    D: int
    """Training targets of the last mark."""
    C: float
    """Training FLOPs of all steps."""
    steps: int
    """Optimiser steps of all marks."""
    step_C: float  # noqa: N815
    """Training FLOPs of a step."""
    lr: float
    batch: int
    memory: int
    """Most that training will hold [bytes], of the device where there is one, else of the process."""
    marks: tuple[PlannedMark, ...]
    """Ascending."""
    rounded: float = 1.0
    """D made over D asked for, the largest of the marks: a run takes whole steps."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunPlan":
        """Read plain data; raise KeyError or TypeError if it is not that of a plan."""
        return cls(**{**data, "marks": tuple(PlannedMark(**mark) for mark in data["marks"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
