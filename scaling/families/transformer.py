"""A causal Transformer: pre-norm, rotary positions, fused attention; the head dimension stays fixed while heads grow.

Transformer(width=64, depth=2, lr=0.01, head_dim=16).build(task)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from scaling.errors import UserError
from scaling.families.base import Block, Family, Model, feed_forward, linear, readout, token_embedding, whole
from scaling.task import Task

# RoPE, arXiv:2104.09864, section 3.2.2
ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class Transformer(Family):
    """head_dim: features per attention head. expansion: hidden width of the feed-forward over width."""

    head_dim: int = 16
    expansion: int = 4

    learns: ClassVar[tuple[str, ...]] = ("tokens",)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("family.head_dim", self.head_dim)
        whole("family.expansion", self.expansion)
        if self.head_dim % 2:
            raise UserError(
                f"family.head_dim={self.head_dim} is odd, but rotary positions turn pairs; give an even one"
            )
        if self.width % self.head_dim:
            allowed = f"{self.head_dim}, {2 * self.head_dim}, {3 * self.head_dim} ..."
            raise UserError(
                f"family.width={self.width} is not a multiple of family.head_dim={self.head_dim}; give {allowed}"
            )

    def build(self, task: Task) -> Model:
        layers: list[nn.Module] = []
        for _ in range(self.depth):
            layers.append(Block(self.width, Attention(self.width, self.head_dim, task.seq_len)))
            layers.append(Block(self.width, feed_forward(self.width, self.expansion * self.width)))
        body = nn.Sequential(*layers, nn.RMSNorm(self.width))
        return Model(token_embedding(task.d_in, self.width), body, readout(self.width, task.d_out))


class Attention(nn.Module):
    """Causal multi-head self-attention with rotary positions."""

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, head_dim: int, seq_len: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv, self.out = linear(width, 3 * width), linear(width, width)
        rates = ROTARY_BASE ** (-torch.arange(0, head_dim, 2) / head_dim)
        angles = torch.arange(seq_len)[:, None] * rates  # (seq, head_dim / 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq, width = x.shape
        q, k, v = self.qkv(x).view(batch, seq, 3, -1, self.head_dim).permute(2, 0, 3, 1, 4)  # (batch, heads, seq, head)
        cos, sin = self.cos.to(q.dtype), self.sin.to(q.dtype)
        y = scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, seq, width))  # type: ignore[no-any-return]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of features by their position's angle (arXiv:2104.09864); x is (batch, heads, seq, head_dim)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
