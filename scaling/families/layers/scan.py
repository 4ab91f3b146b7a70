"""Linear recurrences worked out in parallel over time, in plain torch.

h_t = exp(log_decay_t) h_{t-1} + gain_t write_t x_t' and y_t = read_t' h_t, in chunks of matrix products:

    y = chunked_scan(x, log_decay, gain, write, read, chunk=64)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from isoflop.scaling.families.layers.chunks import worked
from isoflop.scaling.families.layers.norms import plain_on_cpu


def chunked_scan(x: Tensor, log_decay: Tensor, gain: Tensor, write: Tensor, read: Tensor, chunk: int) -> Tensor:
    """Apply the state-space duality of Mamba-2 (arXiv:2405.21060, sec. 6): products in chunks, states between.

    x: (batch, seq, heads, head). log_decay, at most 0, and gain, above 0: (batch, seq, heads). write, read:
    (batch, seq, state), shared by the heads. Returns (batch, seq, heads, head). Linear in seq.
    """
    seq = x.shape[1]
    size = min(chunk, seq)
    # (batch, chunks, size, ...)
    log_gain = gain.clamp_min(torch.finfo(gain.dtype).tiny).log()
    x, log_decay, log_gain, write, read = (fold(t, size) for t in (x, log_decay, log_gain, write, read))
    through = log_decay.cumsum(2).transpose(2, 3)  # (batch, chunks, heads, size), log of the decay since its start
    gained = through - log_gain.transpose(2, 3)
    of_chunks = worked if plain_on_cpu(x, through) else products
    return of_chunks(x, through, gained, write, read).flatten(1, 2)[:, :seq]


def products(values: Tensor, through: Tensor, gained: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Do what chunks.worked does on a CPU, on any device and in any precision."""
    *_, size, heads, head = values.shape
    values = values.transpose(2, 3)  # (batch, chunks, heads, size, head)

    # within: position i takes from j <= i what has not decayed since
    since = through[..., :, None] - gained[..., None, :]  # (batch, chunks, heads, size, size)
    future = torch.full((size, size), float("-inf"), dtype=since.dtype, device=since.device).triu(1)
    match = (read @ write.transpose(2, 3))[:, :, None]  # (batch, chunks, 1, size, size)
    within = (match * (since + future).exp()) @ values

    # between: what each chunk leaves, carried on from chunk to chunk, and what each position takes of what was carried
    left = (through[..., -1:] - gained).exp()  # (batch, chunks, heads, size)
    gains = write.transpose(2, 3) @ (values * left[..., None]).transpose(2, 3).flatten(3)  # (.., state, heads * head)
    states = carried(gains.unflatten(3, (heads, head)), through[..., -1].exp())  # (.., state, heads, head)
    taken = (read @ states.flatten(3)).unflatten(3, (heads, head)).transpose(2, 3)  # (.., heads, size, head)
    return (within + taken * through.exp()[..., None]).transpose(2, 3)  # type: ignore[no-any-return]


def fold(t: Tensor, size: int) -> Tensor:
    """Cut the sequence into chunks, the last padded with zeros: (batch, seq, ...) to (batch, chunks, size, ...)."""
    missing = -t.shape[1] % size
    if missing:
        t = pad(t, (0, 0) * (t.dim() - 2) + (0, missing))
    return t.unflatten(1, (-1, size))  # type: ignore[no-any-return]


def carried(gains: Tensor, decays: Tensor) -> Tensor:
    """Return the state at the start of each chunk, from what each adds and its decay."""
    state = torch.zeros_like(gains[:, 0])
    states = []
    for gain, decay in zip(gains.unbind(1), decays.unbind(1), strict=True):
        states.append(state)
        state = state * decay[:, None, :, None] + gain
    return torch.stack(states, dim=1)


def linear_scan(keep: Tensor, new: Tensor) -> Tensor:
    """Return h_t = keep_t h_{t-1} + new_t over dim 1 of (batch, seq, width) from a zero state; keep is in 0 to 1.

    In about sqrt(seq) chunks: position by position in all of them at once, then the state from chunk to chunk; few
    passes over memory. Nothing is multiplied but by numbers up to one, so that nothing overflows. To torch.compile it
    is one operation, and no loop to unroll.
    """
    return _scanned(keep, new)  # type: ignore[no-any-return]


def scanned(keep: Tensor, new: Tensor) -> Tensor:
    """Compute linear_scan without a gradient."""
    seq, size = keep.shape[1], chunk_size(keep.shape[1])
    through, h = owned(fold(keep, size), keep), owned(fold(new, size), new)  # (batch, chunks, size, width)
    for at in range(1, size):
        h[:, :, at].addcmul_(through[:, :, at], h[:, :, at - 1])
        through[:, :, at].mul_(through[:, :, at - 1])  # how much is kept since the chunk's start
    for chunk in range(1, h.shape[1]):
        h[:, chunk].addcmul_(through[:, chunk], h[:, chunk - 1, -1:])
    return h.flatten(1, 2)[:, :seq].contiguous()


def scanned_back(keep: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of new: g_t = gradient_t + keep_{t+1} g_{t+1}, from the end."""
    seq, size = keep.shape[1], chunk_size(keep.shape[1])
    through, g = fold(pad(keep[:, 1:], (0, 0, 0, 1)), size), owned(fold(gradient, size), gradient)
    for at in range(size - 2, -1, -1):
        g[:, :, at].addcmul_(through[:, :, at], g[:, :, at + 1])
        through[:, :, at].mul_(through[:, :, at + 1])
    for chunk in range(g.shape[1] - 2, -1, -1):
        g[:, chunk].addcmul_(through[:, chunk], g[:, chunk + 1, :1])
    return g.flatten(1, 2)[:, :seq].contiguous()


def chunk_size(seq: int) -> int:
    """Return a power of two near the root of seq, which divides lengths that are powers of two."""
    return 1 << (seq.bit_length() // 2)


def owned(folded: Tensor, of: Tensor) -> Tensor:
    """Return a tensor that may be overwritten: a copy, unless folding has made one."""
    return folded.clone() if folded.untyped_storage().data_ptr() == of.untyped_storage().data_ptr() else folded


_scanned = torch.library.custom_op("isoflop::linear_scan", scanned, mutates_args=())
_scanned_back = torch.library.custom_op("isoflop::linear_scan_back", scanned_back, mutates_args=())


@_scanned.register_fake
@_scanned_back.register_fake
def _(keep: Tensor, new: Tensor) -> Tensor:
    return torch.empty_like(new, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of keep and new; keep_t gets that of new_t times the state before."""
    keep, h = ctx.saved_tensors
    of_new = _scanned_back(keep, gradient)
    return pad(of_new[:, 1:] * h[:, :-1], (0, 0, 1, 0)), of_new


_scanned.register_autograd(_gradient, setup_context=_save)


def gated_scan(both: Tensor) -> Tensor:
    """Return h_t = (1 - z_t) h_{t-1} + z_t g(c_t), z = sigmoid(gates), g(c) = c + 1/2 above 0, sigmoid(c) below.

    both: gates and c side by side, (batch, seq, 2 width). Returns (batch, seq, width). torch.where, which decides one
    by one, takes longer than all of this.
    """
    h: Tensor = _Gated.apply(both)
    return h


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, candidate = both.chunk(2, dim=-1)
        open_, low = gate.sigmoid(), candidate.clamp_max(0).sigmoid_()
        new = candidate.clamp_min(0).add_(low)
        h: Tensor = scanned(1 - open_, open_ * new)
        ctx.save_for_backward(candidate, open_, low, new, h)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        candidate, open_, low, new, h = ctx.saved_tensors
        of_both: Tensor = h.new_empty(*h.shape[:-1], 2 * h.shape[-1])
        keep = 1 - open_
        of_gate, of_candidate = of_both.chunk(2, dim=-1)
        of_new = scanned_back(keep, gradient).mul_(open_)
        gained = new.clone()
        gained[:, 1:] -= h[:, :-1]
        torch.mul(of_new, keep, out=of_gate).mul_(gained)
        # the slope is that of the sigmoid, a quarter above 0, and three quarters more there
        torch.ops.aten.sigmoid_backward(of_new, low, grad_input=of_candidate)
        of_candidate.add_(torch.ops.aten.threshold_backward(of_new, candidate, 0), alpha=0.75)
        return of_both
