"""The Transformer: on tokens and sequences causal, on images over patches (ViT); its feed-forward may be sparse.

Transformer(width=64, depth=2, lr=0.01, head_dim=16).build(task)
Transformer(width=64, depth=2, lr=0.01, positions="alibi", feed_forward="swiglu", heads_per_kv=2).build(task)
Moe(width=64, depth=2, lr=0.01, experts=8, top_k=2, capacity=1.25).build(task)
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.checks import Limits, multiple, not_negative, positive
from isoflop.errors import UserError
from isoflop.scaling.families.base import Family, Model, Reporting
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
    wide,
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


@dataclass(frozen=True)
class Moe(Transformer):
    """A Transformer whose feed-forward is sparse: each position goes to top_k of several experts, in fixed shapes.

    Those that one position goes to have together the hidden width of the dense feed-forward.

    experts, top_k: how many there are and how many see a position.
    capacity: places that the experts have over those that even routing fills, per sequence; what finds no place is
    dropped, later positions first, so that none depends on the future. null drops nothing: places for every position.
    balance: weight of the load-balancing loss.
    """

    experts: int = 8
    top_k: int = 2
    capacity: float | None = 1.25
    balance: float = 0.01

    limits: ClassVar[Limits] = {"feed_forward": ("gelu",), "experts": 1, "top_k": 1, "balance": not_negative}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experts < self.top_k:
            fewer = f"family.experts={self.experts} is fewer than family.top_k={self.top_k}"
            raise UserError(f"{fewer}; give at least as many")
        if self.capacity is not None:
            positive("family.capacity", self.capacity, "; give 1.25, or null to drop nothing")

    def second(self) -> nn.Module:
        hidden = self.width // self.head_dim * round(self.expansion * self.head_dim / self.top_k)
        return Experts(self.width, hidden, self.experts, self.top_k, self.capacity, self.balance)


class Experts(Reporting):
    """Feed-forwards side by side behind a router (GShard, arXiv:2006.16668, alg. 1), a sequence being a group.

    auxiliary: the load-balancing loss. health: of the last forward, the share of choices that were dropped, the load of
    the fullest expert over an even one (1 at best), and the router's entropy over its largest.
    """

    def __init__(
        self, width: int, hidden: int, experts: int, top_k: int, capacity: float | None, balance: float
    ) -> None:
        super().__init__()
        self.experts, self.top_k, self.capacity, self.balance = experts, top_k, capacity, balance
        self.router = linear(width, experts)
        self.up, self.down = self.stacked(width, hidden), self.stacked(hidden, width)

    def stacked(self, d_in: int, d_out: int) -> nn.Parameter:
        """Return one linear map per expert, (experts, d_in, d_out)."""
        maps = nn.Parameter(torch.randn(self.experts, d_in, d_out) * d_in**-0.5)
        maps.fan_in_axes = (1,)  # type: ignore[attr-defined]
        maps.active = self.top_k / self.experts  # type: ignore[attr-defined]
        return maps

    def places(self, seq: int) -> int:
        """Return the positions of one sequence that an expert has room for."""
        return seq if self.capacity is None else min(seq, math.ceil(self.capacity * self.top_k * seq / self.experts))

    def forward(self, x: Tensor) -> Tensor:
        seq = x.shape[1]
        shares = wide(self.router(x)).softmax(-1)  # (batch, seq, experts)
        weight, chosen = shares.topk(self.top_k)  # (batch, seq, top_k)
        weight = (weight / weight.sum(-1, keepdim=True)).flatten(1)  # (batch, choices), by position, then by rank
        slot, placed, picked = self.queue(chosen.flatten(1), self.places(seq))
        self.report(shares, picked, placed)
        worked = self.work(x.repeat_interleave(self.top_k, dim=1), slot, self.places(seq))  # (batch, choices, width)
        worked = worked * (weight * placed)[..., None].to(worked.dtype)
        return worked.unflatten(1, (seq, self.top_k)).sum(2)  # type: ignore[no-any-return]

    def queue(self, chosen: Tensor, places: int) -> tuple[Tensor, Tensor, Tensor]:
        """Assign slots in order, the last where no place is left; return them, whether placed, one-hot choices."""
        picked = chosen[..., None] == torch.arange(self.experts, device=chosen.device)  # (batch, choices, experts)
        before = ((picked.cumsum(1) - 1) * picked).sum(-1)  # (batch, choices): how many came earlier
        placed = before < places
        return torch.where(placed, chosen * places + before, self.experts * places), placed, picked

    def work(self, x: Tensor, slot: Tensor, places: int) -> Tensor:
        """Send choices (batch, choices, width) to their slots, through the experts, and back."""
        batch, _, width = x.shape
        at = slot[..., None].expand(-1, -1, width)
        queues = x.new_zeros(batch, self.experts * places + 1, width).scatter(1, at, x)[:, :-1]
        queues = queues.view(batch, self.experts, places, width).transpose(0, 1).flatten(1, 2)
        worked = nn.functional.gelu(queues @ self.up) @ self.down  # (experts, batch * places, width)
        back = worked.view(self.experts, batch, places, width).transpose(0, 1).flatten(1, 2)
        return nn.functional.pad(back, (0, 0, 0, 1)).gather(1, at)

    def report(self, shares: Tensor, picked: Tensor, placed: Tensor) -> None:
        """Keep what is added to the loss (Switch, arXiv:2101.03961, eq. 4) and what is recorded."""
        load = picked.to(shares.dtype).mean((0, 1)) * self.experts  # (experts,), 1 where even
        self.auxiliary = self.balance * (load * shares.mean((0, 1))).sum()
        entropy = -(shares * shares.clamp_min(1e-9).log()).sum(-1).mean()
        self.health = {
            "router_dropped": 1 - placed.to(shares.dtype).mean().detach(),
            "router_max_load": load.max().detach(),
            "router_entropy": (entropy / math.log(max(self.experts, 2))).detach(),
        }
