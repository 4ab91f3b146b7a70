"""The Transformer: on tokens and sequences causal, on images over patches (ViT); heads grow in number, not in size.

Transformer(width=64, depth=2, lr=0.01, head_dim=16).build(task)
Transformer(width=64, depth=2, lr=0.01, positions="alibi", feed_forward="swiglu", heads_per_kv=2).build(task)
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from isoflop.checks import Limits, multiple, not_negative
from isoflop.errors import UserError
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.attention import POSITIONS, AddPositions, Attention, Heads
from isoflop.scaling.families.layers.basic import (
    Block,
    Pool,
    feed_forward,
    linear,
    normalisation,
    readout,
    refuse_patch,
    stem,
)
from isoflop.scaling.task import Task


@dataclass(frozen=True)
class Transformer(Family):
    """head_dim: features per attention head. heads_per_kv: query heads that share a key and value head (grouped).

    feed_forward: gelu, or swiglu at the same number of parameters; expansion: hidden width of the former over width.
    norm: pre, post or none, of norm_kind rms or layer. qk_norm: normalise queries and keys.
    positions: rotary, sinusoidal, learned, alibi or none; context: how many are learned, null for the data's seq_len;
    positions_scale: size of the learned ones at the start, over the usual one.
    causal: null for causal on tokens and sequences and not on images. shared: all layers are one.
    patch: pixels along the side of a patch of an image.
    """

    head_dim: int = 16
    heads_per_kv: int = 1
    feed_forward: str = "gelu"
    expansion: int = 4
    norm: str = "pre"
    norm_kind: str = "rms"
    qk_norm: bool = False
    positions: str = "rotary"
    context: int | None = None
    causal: bool | None = None
    shared: bool = False
    patch: int = 4
    positions_scale: float = 1.0

    learns: ClassVar[tuple[str, ...]] = ("tokens", "sequences", "images")
    limits: ClassVar[Limits] = {
        **dict.fromkeys(("head_dim", "heads_per_kv", "expansion", "patch", "context"), 1),
        **dict.fromkeys(("qk_norm", "shared"), (True, False)),
        "feed_forward": ("gelu", "swiglu"),
        "norm": ("pre", "post", "none"),
        "norm_kind": ("rms", "layer"),
        "positions": POSITIONS,
        "causal": (None, True, False),
        "positions_scale": not_negative,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions_scale != 1 and self.positions != "learned":
            scale = f"family.positions_scale={self.positions_scale:g} is the size of learned positions at the start"
            give = "give family.positions=learned, or leave the scale at 1"
            raise UserError(f"{scale}, but family.positions={self.positions}; {give}")
        if self.head_dim % 2 and self.positions == "rotary":
            turned = "rotary positions turn pairs; give an even one"
            raise UserError(f"family.head_dim={self.head_dim} is odd, but {turned}")
        multiple("family.width", self.width, "family.head_dim", self.head_dim)
        multiple("family.width", self.width, "family.head_dim*heads_per_kv", self.head_dim * self.heads_per_kv)

    def refuse(self, task: Task) -> None:
        refuse_patch(task, self.patch)
        if task.kind == "tokens" and self.causal is False:
            raise UserError("family.causal=false would see the tokens that it is to predict; give null or true")
        if self.positions == "learned" and self.context is not None and self.length(task) > self.context:
            learned = f"the data has {self.length(task)} positions, but family.context={self.context} are learned"
            raise UserError(f"{learned}; raise it, lower data.seq_len, or choose other family.positions")

    @property
    def looks_ahead(self) -> bool:
        return self.causal is False

    def length(self, task: Task) -> int:
        """Return the positions that attention sees."""
        return (task.seq_len // self.patch) ** 2 if task.kind == "images" else task.seq_len

    def build(self, task: Task) -> Model:
        embed, first = stem(task, self.width) if task.kind != "images" else (nn.Identity(), [self.patches(task)])
        length = self.length(task)
        if self.positions in ("sinusoidal", "learned"):
            first.append(AddPositions(self.positions, max(length, self.context or 0), self.width, self.positions_scale))
        causal = task.kind != "images" if self.causal is None else self.causal
        layers = self.layers(length, causal)
        last = [normalisation(self.norm_kind, self.width)] if self.norm == "pre" else []
        pool = [Pool((1,))] if task.kind == "images" else []
        return Model(embed, nn.Sequential(*first, *layers, *last, *pool), readout(self.width, task.d_out))

    def layers(self, length: int, causal: bool) -> list[nn.Module]:
        """Build attention and feed-forward, `depth` times over, or one pair that is reused if layers are shared."""
        made: list[list[nn.Module]] = []
        for _ in range(1 if self.shared else self.depth):
            heads = Heads(self.head_dim, self.heads_per_kv, self.qk_norm)
            attention = Attention(self.width, heads, length, causal, self.positions)
            made.append([self.block(attention), self.block(self.second())])
        return [block for i in range(self.depth) for block in made[i % len(made)]]

    def block(self, branch: nn.Module) -> Block:
        kind = "none" if self.norm == "none" else self.norm_kind
        return Block(self.width, branch, kind, after=self.norm == "post")

    @property
    def hidden(self) -> int:
        """Hidden width of the feed-forward; swiglu has three maps for two (arXiv:2002.05202, sec. 2)."""
        if self.feed_forward == "gelu":
            return self.expansion * self.width
        # rounded per head, so that it doubles when the width does
        return self.width // self.head_dim * round(self.expansion * self.head_dim * 2 / 3)

    def second(self) -> nn.Module:
        """Build the branch that follows attention."""
        if self.feed_forward == "gelu":
            return feed_forward(self.width, self.hidden)
        return nn.Sequential(linear(self.width, 2 * self.hidden), _Gate(), linear(self.hidden, self.width))

    def patches(self, task: Task) -> nn.Module:
        """Return the non-overlapping patches of an image as positions (ViT, arXiv:2010.11929, eq. 1)."""
        cut = nn.Conv2d(task.d_in, self.width, self.patch, stride=self.patch, bias=False)
        nn.init.normal_(cut.weight, std=(task.d_in * self.patch**2) ** -0.5)
        return nn.Sequential(cut, _Raster())

    def kept(self, seq_len: int) -> int:
        return self.depth * 2 * (self.width // self.heads_per_kv) * seq_len


class _Gate(nn.Module):
    """silu(a) * b over the two halves of the features (SwiGLU, arXiv:2002.05202, eq. 6)."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return nn.functional.silu(a) * b


class _Raster(nn.Module):
    """Lay the positions of a map side by side: (batch, width, rows, columns) to (batch, rows * columns, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)
