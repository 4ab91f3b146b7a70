"""Multi-head self-attention over torch's fused kernel, and the ways in which it knows positions.

Attention(64, Heads(size=16), length=128, causal=True, positions="rotary")(x)
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from isoflop.scaling.families.layers.basic import RmsNorm, fused_here, linear

POSITIONS = ("rotary", "sinusoidal", "learned", "alibi", "none")

# RoPE, arXiv:2104.09864, section 3.2.2, and sinusoids, arXiv:1706.03762, section 3.5
BASE = 10_000.0


class Heads(NamedTuple):
    """Features of a head, query heads to one of keys and values, and whether queries and keys are normalised."""

    size: int
    per_kv: int = 1
    normalised: bool = False


class Attention(nn.Module):
    """Self-attention with grouped key and value heads (arXiv:2305.13245), and with rotary or alibi positions."""

    cos: Tensor
    sin: Tensor
    slopes: Tensor

    def __init__(self, width: int, heads: Heads, length: int, causal: bool, positions: str) -> None:
        super().__init__()
        self.head_dim, self.group, self.causal, self.positions = heads.size, heads.per_kv, causal, positions
        self.kv_width = width // heads.per_kv
        self.qkv, self.out = linear(width, width + 2 * self.kv_width), linear(width, width)
        self.query_norm, self.key_norm = (RmsNorm(heads.size) if heads.normalised else nn.Identity() for _ in range(2))
        if positions == "rotary":
            turns = angles(length, heads.size)  # (length, head_dim / 2)
            self.register_buffer("cos", turns.cos(), persistent=False)
            self.register_buffer("sin", turns.sin(), persistent=False)
        if positions == "alibi":  # one slope a head, 2^(-8 i / heads): ALiBi, arXiv:2108.12409, section 3
            count = width // heads.size
            slopes = 2.0 ** (-8.0 * torch.arange(1, count + 1) / count)
            self.register_buffer("slopes", slopes, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq, width = x.shape
        qkv, turns = self.qkv(x), self.positions == "rotary"
        if turns and isinstance(self.query_norm, nn.Identity) and fused_here(qkv, self.cos):
            qkv, turns = _rotate_rows(qkv, self.cos[:seq], self.sin[:seq], width + self.kv_width), False
        parts = qkv.split((width, self.kv_width, self.kv_width), dim=-1)
        # (batch, heads, seq, head), of k and v fewer heads where they are grouped
        q, k, v = (part.view(batch, seq, -1, self.head_dim).transpose(1, 2) for part in parts)
        q, k = self.query_norm(q), self.key_norm(k)
        if turns:
            q, k = (_rotate(part, self.cos[:seq], self.sin[:seq]) for part in (q, k))
        bias = self.bias(seq).to(q.dtype) if self.positions == "alibi" else None
        causal = self.causal and bias is None
        y = scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal, enable_gqa=self.group > 1)
        return self.out(y.transpose(1, 2).reshape(batch, seq, width))  # type: ignore[no-any-return]

    def bias(self, seq: int) -> Tensor:
        """Return ALiBi's penalty on distance, (heads, seq, seq); causal attention masks the future."""
        at = torch.arange(seq, device=self.slopes.device)
        ahead = at[None, :] - at[:, None]  # (seq, seq), above 0 for the future
        bias = -self.slopes[:, None, None] * ahead.abs()
        return bias.masked_fill(ahead > 0, float("-inf")) if self.causal else bias


class AddPositions(nn.Module):
    """Adds to each position a row of a table: of sinusoids, or learned from a start `scale` times the usual size."""

    sinusoids: Tensor

    def __init__(self, kind: str, length: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.learned = kind == "learned"
        if self.learned:
            self.table = nn.Embedding(length, width)
            nn.init.normal_(self.table.weight, std=0.02 * scale)  # .02 as GPT-2 has it (Radford 2019)
            self.table.weight.role = "embed"  # type: ignore[attr-defined]  # looked up, it multiplies nothing
        else:
            turns = angles(length, width)
            table = torch.stack((turns.sin(), turns.cos()), dim=-1).flatten(1)  # arXiv:1706.03762, section 3.5
            self.register_buffer("sinusoids", table[:, :width], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.table.weight if self.learned else self.sinusoids.to(x.dtype)
        return x + rows[: x.shape[1]]


def angles(length: int, size: int) -> Tensor:
    """Return the angle of each position in each pair of features, (length, size / 2)."""
    rates = BASE ** (-torch.arange(0, size, 2) / size)
    return torch.arange(length)[:, None] * rates


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of features of x (batch, heads, seq, head_dim) by their position's angle (arXiv:2104.09864), in the
    precision of the angles: in bf16 late positions would be off by 2^-9 of a turn and more."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x.dtype)


def _rotate_rows(x: Tensor, cos: Tensor, sin: Tensor, features: int) -> Tensor:
    """Apply _rotate to the first features of (batch, seq, all), heads side by side; cos, sin: (seq, head_dim / 2)."""
    half = cos.shape[1]
    cosines = pad(cos.repeat(1, features // half), (0, x.shape[2] - features), value=1.0)  # (seq, all)
    crossed = torch.cat((-sin, sin), dim=1).repeat(1, features // half // 2)  # (seq, features)
    partner = torch.arange(features).view(-1, 2, half).flip(1).flatten()
    y: Tensor = _Rotated.apply(x, cosines, crossed, partner)
    return y


class _Rotated(torch.autograd.Function):
    """The gradient is turned back: by the same angle the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, crossed: Tensor, partner: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, crossed, partner)
        return _rotated(x, cosines, crossed, partner)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        cosines, crossed, partner = ctx.saved_tensors
        return _rotated(gradient, cosines, -crossed, partner), None, None, None


def _rotated(x: Tensor, cosines: Tensor, crossed: Tensor, partner: Tensor) -> Tensor:
    y = x * cosines
    partners = x.flatten(0, 1).index_select(1, partner).unflatten(0, x.shape[:2])
    y[..., : len(partner)].addcmul_(partners, crossed)
    return y
