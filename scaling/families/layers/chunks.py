"""The work on the chunks of a scan for CPUs, a head at a time, so that what is passed over lies in the cache.

scan.chunked_scan says what is worked out. Its gradient needs the decays between positions but once more: what the log
of a decay since the start of a chunk gets is what its position's output has in common with the gradient of that, and
what has been lost before a position gets is what its value has in common with the gradient of the value.

    values, write, read = torch.ones(1, 2, 8, 3, 4), torch.ones(1, 2, 8, 5), torch.ones(1, 2, 8, 5)
    through = torch.zeros(1, 2, 3, 8)                       # no decay
    y = worked(values, through, through, write, read)       # (1, 2, 8, 3, 4)
"""

import math
from typing import Any

import torch
from torch import Tensor


def worked(values: Tensor, through: Tensor, gained: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Return what each position reads, (batch, chunks, size, heads, head).

    values: (batch, chunks, size, heads, head). through: log of the decay from the start of the chunk to a position,
    gained: that less the log of its gain, (batch, chunks, heads, size). write, read: (batch, chunks, size, state).
    """
    return _worked(values, through, gained, write, read)[0]  # type: ignore[no-any-return]


@torch.library.custom_op("isoflop::chunks", mutates_args=())
def _worked(
    values: Tensor, through: Tensor, gained: Tensor, write: Tensor, read: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is read, decays from position to position, and states at the start of each chunk.

    (batch, chunks, size, heads, head); (heads, groups, size, size), 0 from later ones; (batch, chunks, state, heads,
    head). groups: the chunks of all examples.
    """
    batch, chunks, _, heads, head = values.shape
    v, through, gained, write, read = (t.flatten(0, 1) for t in (values, through, gained, write, read))
    match = read @ write.transpose(1, 2)  # (groups, size, size)
    within, decays, y = torch.empty_like(match), match.new_empty(heads, *match.shape), v.new_empty(v.shape)
    until, since = (t.transpose(0, 1).contiguous() for t in (through, gained))  # (heads, groups, size)
    low, high = exponents(match.dtype)
    for at, decay in enumerate(decays):
        torch.sub(until[at, :, :, None], since[at, :, None, :], out=decay).clamp_(low, high).exp_().tril_()
        y[:, :, at] = torch.mul(match, decay, out=within) @ v[:, :, at]
    states = v.new_zeros(batch, chunks, write.shape[2], heads, head)
    gains = (write.transpose(1, 2) @ (v * left(through, gained)).flatten(2)).view_as(states)
    decay = through[..., -1].exp().view(batch, chunks, 1, heads, 1)
    for at in range(1, chunks):
        torch.addcmul(gains[:, at - 1], states[:, at - 1], decay[:, at - 1], out=states[:, at])
    y.addcmul_((read @ states.flatten(0, 1).flatten(2)).view_as(y), reached(through))
    return y.view_as(values), decays, states


@torch.library.custom_op("isoflop::chunks_back", mutates_args=())
def _worked_back(
    gradient: Tensor,
    y: Tensor,
    decays: Tensor,
    states: Tensor,
    values: Tensor,
    through: Tensor,
    gained: Tensor,
    write: Tensor,
    read: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the five arguments of `worked`."""
    batch, chunks, *_ = values.shape
    shapes = [t.shape for t in (values, through, gained, write, read)]
    of_y, y, v, through, gained, write, read = (
        t.flatten(0, 1) for t in (gradient.contiguous(), y, values, through, gained, write, read)
    )
    of_v, of_match = within_back(of_y, read @ write.transpose(1, 2), decays, v)
    of_taken = (of_y * reached(through)).flatten(2)  # (groups, size, heads * head)
    of_states = (read.transpose(1, 2) @ of_taken).view_as(states)
    of_gains, decay = torch.zeros_like(states), through[..., -1].exp().view(batch, chunks, 1, -1, 1)
    for at in range(chunks - 1, 0, -1):  # what a chunk leaves is the state of the next
        torch.addcmul(of_states[:, at], of_gains[:, at], decay[:, at], out=of_gains[:, at - 1])
    flat, weights = of_gains.flatten(0, 1).flatten(2), left(through, gained)
    of_v.addcmul_((write @ flat).view_as(v), weights)
    of_read = torch.baddbmm(of_match @ write, of_taken, states.flatten(0, 1).flatten(2).transpose(1, 2))
    of_write = torch.baddbmm(of_match.transpose(1, 2) @ read, (v * weights).flatten(2), flat.transpose(1, 2))
    of_through = (of_y * y).sum(3).transpose(1, 2).unflatten(0, (batch, chunks)).contiguous()
    of_through[:, :-1, :, -1] += (of_gains[:, :-1] * states[:, 1:]).sum((2, 4))
    of_gained = (v * of_v).sum(3).neg_().transpose(1, 2).contiguous()
    gradients = (of_v, of_through, of_gained, of_write, of_read)
    return tuple(t.view(shape) for t, shape in zip(gradients, shapes, strict=True))


def within_back(of_y: Tensor, match: Tensor, decays: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the values and of the matches of reads with writes, within the chunks."""
    within, of_within = torch.empty_like(match), torch.empty_like(match)
    of_v, of_match = torch.empty_like(of_y), torch.zeros_like(match)
    for at, decay in enumerate(decays):
        of_v[:, :, at] = torch.mul(match, decay, out=within).transpose(1, 2) @ of_y[:, :, at]
        torch.bmm(of_y[:, :, at], v[:, :, at].transpose(1, 2), out=of_within)
        of_match.addcmul_(of_within, decay)
    return of_v, of_match


def exponents(dtype: torch.dtype) -> tuple[float, float]:
    """Clip to the range in which exp is fast; beyond it the results round to 0 or infinity, ten times slower."""
    limits = torch.finfo(dtype)
    return math.log(limits.tiny) + 0.5, math.log(limits.max) - 1


def left(through: Tensor, gained: Tensor) -> Tensor:
    """Return the factor of a position's value at the end of the chunk, (groups, size, heads, 1)."""
    return (through[..., -1:] - gained).exp_().transpose(1, 2)[..., None]


def reached(through: Tensor) -> Tensor:
    """Return the share of the chunk's first state that remains, (groups, size, heads, 1)."""
    return through.exp().transpose(1, 2)[..., None]


@_worked.register_fake
def _(values: Tensor, through: Tensor, gained: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, chunks, size, heads, head = values.shape
    decays = values.new_empty(heads, batch * chunks, size, size)
    return values.new_empty(values.shape), decays, values.new_empty(batch, chunks, write.shape[3], heads, head)


@_worked_back.register_fake
def _(gradient: Tensor, *saved: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in saved[3:])


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, *inputs)


def _gradient(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return _worked_back(gradient, *ctx.saved_tensors)  # type: ignore[no-any-return]


_worked.register_autograd(_gradient, setup_context=_save)
