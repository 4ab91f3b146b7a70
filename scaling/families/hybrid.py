"""Attention and selective state-space layers interleaved, each followed by a feed-forward (as Jamba, arXiv:2403.19887).

The state-space layers distinguish positions, so attention needs no positions of its own.

Hybrid(width=64, depth=4, lr=0.01, attention_every=4).build(task)        three state-space layers, then attention
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from isoflop.checks import Limits, multiple
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.attention import Attention
from isoflop.scaling.families.layers.basic import Block, feed_forward, readout, stem
from isoflop.scaling.families.layers.norms import normalisation
from isoflop.scaling.families.ssm import Ssm, unit
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Hybrid(Family):
    """attention_every: layers from one that attends to the next, the others are state spaces; 1 is attention alone.

    head_dim: of attention. expansion: of the feed-forward. The others are those of Ssm.
    """

    attention_every: int = 2
    head_dim: int = 16
    expansion: int = 4
    state: int = 32
    ssm_head_dim: int = 32
    ssm_expansion: int = 2
    kernel: int = 4
    chunk: int = 128

    learns: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    limits: ClassVar[Limits] = dict.fromkeys(
        ("attention_every", "head_dim", "expansion", "ssm_head_dim", "ssm_expansion"), 1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        multiple("family.width", self.width, "family.head_dim", self.head_dim)
        ssm_unit = unit(self.ssm_head_dim, self.ssm_expansion)
        multiple("family.width", self.width, "family.ssm_head_dim/ssm_expansion", ssm_unit)

    @property
    def ssm(self) -> Ssm:
        """The family that the state-space layers are taken from."""
        sizes = self.state, self.ssm_head_dim, self.ssm_expansion, self.kernel, self.chunk
        return Ssm(self.width, self.depth, self.lr, "selective", *sizes)

    def attends(self, layer: int) -> bool:
        return layer % self.attention_every == self.attention_every - 1

    def build(self, task: Task) -> Model:
        embed, first = stem(task, self.width)
        layers: list[nn.Module] = []
        for i in range(self.depth):
            if self.attends(i):
                mixer: nn.Module = Attention(self.width, self.head_dim, 1, task.seq_len, True, "none", False)
            else:
                mixer = self.ssm.mixer()
            layers.append(Block(self.width, mixer))
            layers.append(Block(self.width, feed_forward(self.width, self.expansion * self.width)))
        body = nn.Sequential(*first, *layers, normalisation("rms", self.width))
        return Model(embed, body, readout(self.width, task.d_out))

    def kept(self, seq_len: int) -> int:
        attending = sum(self.attends(i) for i in range(self.depth))
        return attending * 2 * self.width * seq_len + (self.depth - attending) * self.ssm.kept(seq_len) // self.depth
