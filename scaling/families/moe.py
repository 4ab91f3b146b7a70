"""A Transformer whose feed-forward is sparse: each position goes to top_k of several experts, in fixed shapes.

The experts that one position goes to have together the hidden width of the dense feed-forward, so that at equal width
and depth a Moe has as many active parameters as the Transformer, but for its router.

Moe(width=64, depth=2, lr=0.01, experts=8, top_k=2, capacity=1.25).build(task)
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoflop.checks import Limits, not_negative, positive
from isoflop.errors import UserError
from isoflop.scaling.families.base import Reporting
from isoflop.scaling.families.layers.basic import linear, wide
from isoflop.scaling.families.transformer import Transformer


@dataclass(frozen=True)
class Moe(Transformer):
    """experts, top_k: how many there are and how many see a position.

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
        """Assign slots in order: each choice's slot among all experts' places, whether it has one, one-hot choices.

        What has no place goes to one more slot at the end, which is thrown away.
        """
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
