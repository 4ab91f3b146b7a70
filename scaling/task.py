"""What a dataset asks of a model; all that data and architecture know about each other.

task = Task(kind="tokens", d_in=256, d_out=256, seq_len=64, targets=64)
check("mlp", ("vectors", "tokens"), "text", task)      # silent, or one sentence
"""

from collections.abc import Sequence
from dataclasses import dataclass

from isoflop.errors import UserError
from isoflop.record import NATS
from isoflop.wording import listed

KINDS = ("tokens", "images", "sequences", "vectors")
# loss -> its unit
LOSS_UNITS = {"cross_entropy": NATS, "mse": "squared error"}


@dataclass(frozen=True)
class Task:
    """One example of a dataset, as a model must see it.

    kind: tokens (integers in, a class per position out), images, sequences or vectors.
    d_in: vocabulary size for tokens, channels or features otherwise; d_out: classes or outputs per target.
    seq_len: positions per example (1 for vectors, pixels along a side for images).
    targets: loss-bearing positions per example. loss: cross_entropy or mse.
    floor: irreducible loss where it is known [loss_unit].
    bytes_per_target: bytes of text that a target stands for, so that bits per byte has a meaning.
    """

    kind: str
    d_in: int
    d_out: int
    seq_len: int
    targets: int
    loss: str = "cross_entropy"
    floor: float | None = None
    bytes_per_target: float | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (("kind", self.kind, KINDS), ("loss", self.loss, tuple(LOSS_UNITS))):
            if value not in allowed:
                raise UserError(f"{name}={value!r} of a task is not one of {', '.join(allowed)}")

    @property
    def loss_unit(self) -> str:
        """Unit of the task's loss, as in the record and on every axis."""
        return LOSS_UNITS[self.loss]

    @property
    def has_answers(self) -> bool:
        """Whether a target is a class that the input determines, as those of a text are not."""
        return self.loss == "cross_entropy" and (self.kind != "tokens" or self.floor == 0)


def check(family: str, learns: Sequence[str], data: str, task: Task) -> None:
    """Refuse a family that does not declare the task's kind, in one sentence."""
    if task.kind not in learns:
        raise UserError(
            f"{family} learns {listed(learns)}, but data={data} asks for {task.kind}; choose another family= or data="
        )
