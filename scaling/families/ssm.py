"""State-space models in residual layers: selective (the kind of Mamba-2), diagonal (S4D), and with attention.

Ssm(width=64, depth=2, lr=0.01, kind="selective", state=32).build(task)
Hybrid(width=64, depth=4, lr=0.01, attention_every=4).build(task)        three state-space layers, then attention
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from isoflop.checks import Limits, multiple
from isoflop.scaling.families.base import Family, Model
from isoflop.scaling.families.layers.attention import Attention, Heads
from isoflop.scaling.families.layers.basic import (
    Block,
    RmsNorm,
    feed_forward,
    linear,
    normalisation,
    readout,
    stem,
    wide,
)
from isoflop.scaling.families.layers.scan import causal, chunked_scan
from isoflop.scaling.task import Task

KINDS = ("selective", "diagonal")

# range of the step sizes at the start, even in the logarithm (S4D, arXiv:2206.11893, sec. 4.2; Mamba-2's code alike)
STEP_SIZES = (1e-3, 1e-1)


@dataclass(frozen=True)
class Ssm(Family):
    """kind: selective or diagonal. state: numbers that a feature's state holds (complex ones in the diagonal kind).

    Selective: head_dim: features that share a decay. expansion: inner width over width. kernel: of the short
    convolution. chunk: positions that are worked on as one matrix product.
    """

    kind: str = "selective"
    state: int = 32
    head_dim: int = 32
    expansion: int = 2
    kernel: int = 4
    chunk: int = 64

    learns: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    limits: ClassVar[Limits] = {"kind": KINDS, "state": 1, "head_dim": 1, "expansion": 1, "kernel": 1, "chunk": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "selective":
            multiple("family.width", self.width, "family.head_dim/expansion", unit(self.head_dim, self.expansion))

    def build(self, task: Task) -> Model:
        embed, first = stem(task, self.width)
        layers = [Block(self.width, self.mixer()) for _ in range(self.depth)]
        body = nn.Sequential(*first, *layers, normalisation("rms", self.width))
        return Model(embed, body, readout(self.width, task.d_out))

    def mixer(self) -> nn.Module:
        if self.kind == "diagonal":
            return Diagonal(self.width, self.state)
        return Selective(self.width, self.expansion * self.width, self.state, self.head_dim, self.kernel, self.chunk)

    def unseen_flops(self, task: Task) -> float:
        return self.depth * _fft_flops(self.width, task.seq_len) if self.kind == "diagonal" else 0.0

    def kept(self, seq_len: int) -> int:
        if self.kind == "diagonal":
            return self.depth * 2 * self.state * self.width
        inner = self.expansion * self.width
        return self.depth * (self.state * inner + (self.kernel - 1) * (inner + 2 * self.state))


def unit(head_dim: int, expansion: int) -> int:
    """Return the width of which every width must be a multiple, so that heads are whole."""
    return head_dim // math.gcd(head_dim, expansion)


def _fft_flops(channels: int, seq_len: int) -> float:
    """Return the FLOPs of one example's causal convolution by FFT: two real transforms of twice the length."""
    # a real transform takes 2.5 n log2 n, half of Cooley and Tukey's, a complex product 6; the batch shares the kernel
    n = 2 * seq_len
    return channels * (2 * 2.5 * n * math.log2(n) + 6 * (seq_len + 1))


def _step_sizes(n: int) -> Tensor:
    """Return initial step sizes of n channels, even in the logarithm, in random order."""
    low, high = (math.log(size) for size in STEP_SIZES)
    return torch.exp(torch.rand(n) * (high - low) + low)


class Selective(nn.Module):
    """What a layer of Mamba-2 does (arXiv:2405.21060, fig. 6), by separate maps that grow evenly with the width."""

    def __init__(self, width: int, inner: int, state: int, head_dim: int, kernel: int, chunk: int) -> None:
        super().__init__()
        heads = inner // head_dim
        self.state, self.head_dim, self.chunk = state, head_dim, chunk
        self.gate_in, self.read_write = linear(width, 2 * inner), linear(width, 2 * state)
        self.step = linear(width, heads)
        self.short, self.short_read_write = _ShortConvolution(inner, kernel), _ShortConvolution(2 * state, kernel)
        sizes = _step_sizes(heads)
        self.step_bias = nn.Parameter(sizes + torch.log(-torch.expm1(-sizes)))  # softplus of it gives the sizes
        self.log_decay = nn.Parameter(torch.log(1 + 15 * torch.rand(heads)))  # rates from 1 to 16, as Mamba-2's code
        self.skip = nn.Parameter(torch.ones(heads))
        self.norm, self.out = RmsNorm(inner), linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq, _ = x.shape
        gate, inner = self.gate_in(x).chunk(2, dim=-1)  # (batch, seq, inner) each
        inner = self.short(inner).view(batch, seq, -1, self.head_dim)  # (batch, seq, heads, head)
        write, read = self.short_read_write(self.read_write(x)).chunk(2, dim=-1)  # (batch, seq, state) each
        step = softplus(wide(self.step(x)) + self.step_bias)  # (batch, seq, heads)
        y = chunked_scan(inner, -self.log_decay.exp() * step, step, write, read, self.chunk)
        y = torch.addcmul(y, self.skip[:, None], inner)
        return self.out(self.norm(y.flatten(2) * silu(gate)))  # type: ignore[no-any-return]


class _ShortConvolution(nn.Module):
    def __init__(self, features: int, kernel: int) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(features, features, kernel, groups=features)
        nn.init.normal_(self.convolve.weight, std=kernel**-0.5)
        nn.init.zeros_(self.convolve.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return silu(causal(x, self.convolve.weight, self.convolve.bias))  # type: ignore[arg-type]


class Diagonal(nn.Module):
    """A diagonal linear state space for each feature (S4D-Lin, arXiv:2206.11893, eq. 9), as a convolution by FFT.

    h_t = exp(step A) h_{t-1} + (exp(step A) - 1) / A x_t and y_t = 2 Re sum_n C_n h_t,n + skip x_t, with
    A_n = -1/2 + i pi n at the start. A gated linear map mixes the features.
    """

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.log_step = nn.Parameter(_step_sizes(width).log())
        self.log_decay = _table(torch.full((width, state), 0.5).log())
        self.frequency = _table(math.pi * torch.arange(state).expand(width, state).clone().float())
        self.read = _table(torch.randn(2, width, state) * 0.5**0.5)  # real and imaginary part
        self.skip = nn.Parameter(torch.ones(width))
        self.out = linear(width, 2 * width)

    def kernel(self, seq: int) -> Tensor:
        """Return the response to an impulse, (width, seq), by a zero-order hold."""
        # exp(turn t) at t = rows * fine + rest is a product of two far smaller tables: one product of real matrices
        step = self.log_step.exp()[:, None]
        pole = torch.complex(-self.log_decay.exp(), self.frequency)  # (width, state)
        turn = pole * step
        weight = torch.complex(self.read[0], self.read[1]) * torch.expm1(turn) / pole
        fine = math.isqrt(seq - 1) + 1
        at = torch.arange(fine, device=turn.device, dtype=step.dtype)
        real, imaginary = powers(turn[..., None], at)  # (width, state, fine) each
        rows, across = powers(turn[:, None], (at * fine)[:, None])  # (width, fine, state) each
        of_real, of_imaginary = weight.real[:, None], weight.imag[:, None]
        rows, across = rows * of_real - across * of_imaginary, rows * of_imaginary + across * of_real
        with torch.autocast("cuda" if turn.is_cuda else "cpu", enabled=False):
            modes = torch.cat((rows, -across), dim=2) @ torch.cat((real, imaginary), dim=1)
        return 2 * modes.flatten(1)[:, :seq]

    def forward(self, x: Tensor) -> Tensor:
        seq = x.shape[1]
        u = wide(x).transpose(1, 2)  # (batch, width, seq); no FFT in bf16
        spectrum = torch.fft.rfft(u, n=2 * seq) * torch.fft.rfft(self.kernel(seq), n=2 * seq)
        y = torch.fft.irfft(spectrum, n=2 * seq)[..., :seq] + self.skip[:, None] * u
        # in the order of memory of its gradient, without which its backward pass takes several times as long
        a, b = self.out(nn.functional.gelu(y.transpose(1, 2).contiguous())).chunk(2, dim=-1)
        return a * b.sigmoid()  # type: ignore[no-any-return]


def powers(turn: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the real and imaginary part of exp(turn t); torch computes complex numbers one by one."""
    size, angle = torch.exp(turn.real * t), turn.imag * t
    return size * angle.cos(), size * angle.sin()


def _table(values: Tensor) -> nn.Parameter:
    """Return a parameter whose axes no product sums over."""
    parameter = nn.Parameter(values)
    parameter.fan_in_axes = ()  # type: ignore[attr-defined]
    return parameter


@dataclass(frozen=True)
class Hybrid(Family):
    """Attention and selective layers interleaved, each followed by a feed-forward (as Jamba, arXiv:2403.19887).

    attention_every: layers from one that attends to the next, the others are state spaces; 1 is attention alone. They
    distinguish positions, so attention needs none of its own. head_dim: of attention. expansion: of the feed-forward.
    The others are those of Ssm.
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
                mixer: nn.Module = Attention(self.width, Heads(self.head_dim), task.seq_len, True, "none")
            else:
                mixer = self.ssm.mixer()
            layers.append(Block(self.width, mixer))
            layers.append(Block(self.width, feed_forward(self.width, self.expansion * self.width)))
        body = nn.Sequential(*first, *layers, normalisation("rms", self.width))
        return Model(embed, body, readout(self.width, task.d_out))

    def kept(self, seq_len: int) -> int:
        attending = sum(self.attends(i) for i in range(self.depth))
        return attending * 2 * self.width * seq_len + (self.depth - attending) * self.ssm.kept(seq_len) // self.depth
