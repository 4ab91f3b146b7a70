"""What a selective state space takes of time: a recurrence in chunks of matrix products, and a short convolution.

h_t = exp(log_decay_t) h_{t-1} + gain_t write_t x_t' and y_t = read_t' h_t:

    y = chunked_scan(x, log_decay, gain, write, read, chunk=64)
    causal(torch.ones(2, 9, 4), torch.ones(4, 1, 3), torch.zeros(4)).shape        # (2, 9, 4)
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from isoflop.scaling.families.layers.basic import plain_on_cpu
from isoflop.scaling.families.layers.cells import fold


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
    arguments = (x, through, gained, write, read)
    y = _worked(*arguments)[0] if plain_on_cpu(x, through) else _products(*arguments)
    return y.flatten(1, 2)[:, :seq]


def _products(values: Tensor, through: Tensor, gained: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Do what _worked does on a CPU, on any device and in any precision."""
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
    gains, decays = gains.unflatten(3, (heads, head)), through[..., -1].exp()
    left_behind = [torch.zeros_like(gains[:, 0])]  # the state at the start of each chunk
    for gain, decay in zip(gains.unbind(1)[:-1], decays.unbind(1)[:-1], strict=True):
        left_behind.append(left_behind[-1] * decay[:, None, :, None] + gain)
    states = torch.stack(left_behind, dim=1)  # (.., state, heads, head)
    taken = (read @ states.flatten(3)).unflatten(3, (heads, head)).transpose(2, 3)  # (.., heads, size, head)
    return (within + taken * through.exp()[..., None]).transpose(2, 3)  # type: ignore[no-any-return]


@torch.library.custom_op("isoflop::chunks", mutates_args=())
def _worked(
    values: Tensor, through: Tensor, gained: Tensor, write: Tensor, read: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is read, decays from position to position, and states at the start of each chunk.

    values: (batch, chunks, size, heads, head). through: log of the decay from the start of the chunk to a position,
    gained: that less the log of its gain, (batch, chunks, heads, size). write, read: (batch, chunks, size, state).
    Returns (batch, chunks, size, heads, head); (heads, groups, size, size), 0 from later ones; (batch, chunks, state,
    heads, head). groups: the chunks of all examples. A head at a time, so that what is passed over lies in the cache.
    """
    batch, chunks, _, heads, head = values.shape
    v, through, gained, write, read = (t.flatten(0, 1) for t in (values, through, gained, write, read))
    match = read @ write.transpose(1, 2)  # (groups, size, size)
    within, decays, y = torch.empty_like(match), match.new_empty(heads, *match.shape), v.new_empty(v.shape)
    until, since = (t.transpose(0, 1).contiguous() for t in (through, gained))  # (heads, groups, size)
    # the range in which exp is fast; beyond it the results round to 0 or infinity, ten times slower
    limits = torch.finfo(match.dtype)
    low, high = math.log(limits.tiny) + 0.5, math.log(limits.max) - 1
    for at, decay in enumerate(decays):
        torch.sub(until[at, :, :, None], since[at, :, None, :], out=decay).clamp_(low, high).exp_().tril_()
        y[:, :, at] = torch.mul(match, decay, out=within) @ v[:, :, at]
    states = v.new_zeros(batch, chunks, write.shape[2], heads, head)
    gains = (write.transpose(1, 2) @ (v * _left(through, gained)).flatten(2)).view_as(states)
    decay = through[..., -1].exp().view(batch, chunks, 1, heads, 1)
    for at in range(1, chunks):
        torch.addcmul(gains[:, at - 1], states[:, at - 1], decay[:, at - 1], out=states[:, at])
    y.addcmul_((read @ states.flatten(0, 1).flatten(2)).view_as(y), _reached(through))
    return y.view_as(values), decays, states


@torch.library.custom_op("isoflop::chunks_back", mutates_args=())
def _worked_back(gradient: Tensor, saved: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the five arguments of _worked; saved: its results, then its arguments.

    What the log of a decay since the start of a chunk gets is what its position's output has in common with the
    gradient of that; what has been lost before a position gets the same of its value.
    """
    y, decays, states, values, through, gained, write, read = saved
    batch, chunks, *_ = values.shape
    shapes = [t.shape for t in (values, through, gained, write, read)]
    of_y, y, v, through, gained, write, read = (
        t.flatten(0, 1) for t in (gradient.contiguous(), y, values, through, gained, write, read)
    )
    of_v, of_match = _within_back(of_y, read @ write.transpose(1, 2), decays, v)
    of_taken = (of_y * _reached(through)).flatten(2)  # (groups, size, heads * head)
    of_states = (read.transpose(1, 2) @ of_taken).view_as(states)
    of_gains, decay = torch.zeros_like(states), through[..., -1].exp().view(batch, chunks, 1, -1, 1)
    for at in range(chunks - 1, 0, -1):  # what a chunk leaves is the state of the next
        torch.addcmul(of_states[:, at], of_gains[:, at], decay[:, at], out=of_gains[:, at - 1])
    flat, weights = of_gains.flatten(0, 1).flatten(2), _left(through, gained)
    of_v.addcmul_((write @ flat).view_as(v), weights)
    of_read = torch.baddbmm(of_match @ write, of_taken, states.flatten(0, 1).flatten(2).transpose(1, 2))
    of_write = torch.baddbmm(of_match.transpose(1, 2) @ read, (v * weights).flatten(2), flat.transpose(1, 2))
    of_through = (of_y * y).sum(3).transpose(1, 2).unflatten(0, (batch, chunks)).contiguous()
    of_through[:, :-1, :, -1] += (of_gains[:, :-1] * states[:, 1:]).sum((2, 4))
    of_gained = (v * of_v).sum(3).neg_().transpose(1, 2).contiguous()
    gradients = (of_v, of_through, of_gained, of_write, of_read)
    return tuple(t.view(shape) for t, shape in zip(gradients, shapes, strict=True))


def _within_back(of_y: Tensor, match: Tensor, decays: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the values and of the matches of reads with writes, within the chunks."""
    within, of_within = torch.empty_like(match), torch.empty_like(match)
    of_v, of_match = torch.empty_like(of_y), torch.zeros_like(match)
    for at, decay in enumerate(decays):
        of_v[:, :, at] = torch.mul(match, decay, out=within).transpose(1, 2) @ of_y[:, :, at]
        torch.bmm(of_y[:, :, at], v[:, :, at].transpose(1, 2), out=of_within)
        of_match.addcmul_(of_within, decay)
    return of_v, of_match


def _left(through: Tensor, gained: Tensor) -> Tensor:
    """Return the factor of a position's value at the end of the chunk, (groups, size, heads, 1)."""
    return (through[..., -1:] - gained).exp_().transpose(1, 2)[..., None]


def _reached(through: Tensor) -> Tensor:
    """Return the share of the chunk's first state that remains, (groups, size, heads, 1)."""
    return through.exp().transpose(1, 2)[..., None]


@_worked.register_fake
def _(values: Tensor, through: Tensor, gained: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, chunks, size, heads, head = values.shape
    decays = values.new_empty(heads, batch * chunks, size, size)
    return values.new_empty(values.shape), decays, values.new_empty(batch, chunks, write.shape[3], heads, head)


@_worked_back.register_fake
def _(gradient: Tensor, saved: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in saved[3:])


def _save_chunks(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, *inputs)


def _gradient_of_chunks(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return _worked_back(gradient, ctx.saved_tensors)  # type: ignore[no-any-return]


_worked.register_autograd(_gradient_of_chunks, setup_context=_save_chunks)


def causal(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return y_t = bias + sum_k weight_k x_{t - reach + k} of each feature for itself, x being zero before the start.

    x: (batch, seq, features). weight: (features, 1, kernel) as in nn.Conv1d. bias: (features,).
    """
    if plain_on_cpu(x, weight):
        return _convolved(x, weight[:, 0].t().contiguous(), bias)  # type: ignore[no-any-return]
    # as a 2-D convolution of one row, whose kernels for features-last memory take half the time of the 1-D one
    row = pad(x, (0, 0, weight.shape[2] - 1, 0)).transpose(1, 2)[:, :, None]  # (batch, features, 1, reach + seq)
    return conv2d(row, weight[:, :, None], bias, groups=row.shape[1])[:, :, 0].transpose(1, 2)


@torch.library.custom_op("isoflop::causal_convolution", mutates_args=())
def _convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve with weight (kernel, features), whose last row is that of the position itself."""
    y = torch.addcmul(bias, x, weight[-1])
    for back in range(1, min(len(weight), x.shape[1])):
        y[:, back:].addcmul_(x[:, :-back], weight[-1 - back])
    return y


@torch.library.custom_op("isoflop::causal_convolution_back", mutates_args=())
def _convolved_back(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    of_x, of_weight = gradient * weight[-1], torch.zeros_like(weight)
    of_weight[-1] = (gradient * x).flatten(0, 1).sum(0)
    for back in range(1, min(len(weight), x.shape[1])):
        of_x[:, :-back].addcmul_(gradient[:, back:], weight[-1 - back])
        of_weight[-1 - back] = (gradient[:, back:] * x[:, :-back]).flatten(0, 1).sum(0)
    return of_x, of_weight


@_convolved.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(x)


@_convolved_back.register_fake
def _(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(gradient), torch.empty_like(weight)


def _gradient_of_convolution(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return *_convolved_back(gradient, *ctx.saved_tensors), gradient.sum((0, 1))


_convolved.register_autograd(
    _gradient_of_convolution, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[:2])
)
