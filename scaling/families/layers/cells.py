"""Recurrences of a GRU and of a tanh network that are fast on CPUs, and linear ones worked out in parallel over time.

h = gru(x, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)      # rnn(x)[0]
h = tanh(x, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad


def gru(x: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor) -> Tensor:
    """Return the states of torch.nn.GRU from a zero state, (batch, seq, width); weights as torch orders them.

    r, z = sigmoid(x's share + W h + b), n = tanh(x's share + r (W_n h + b_n)), h = (1 - z) n + z h (torch's manual).
    """
    return _states(linear(x, weight_in, bias_in), weight, bias)[0].transpose(0, 1)  # type: ignore[no-any-return]


@torch.library.custom_op("isoflop::gru", mutates_args=())
def _states(inputs: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return states (seq, batch, width), gates r, z, n (seq, batch, 3 width) and W_n h + b_n (seq, batch, width)."""
    width, maps = weight.shape[1], weight.t()
    gates = inputs.transpose(0, 1).contiguous().clone()
    states, of_state = (gates.new_empty(*gates.shape[:2], width) for _ in range(2))
    both, new = gates[..., : 2 * width].unbind(0), gates[..., 2 * width :].unbind(0)
    reset, update = gates[..., :width].unbind(0), gates[..., width : 2 * width].unbind(0)
    h = torch.zeros_like(states[0])
    for at, (state, share) in enumerate(zip(states.unbind(0), of_state.unbind(0), strict=True)):
        hidden = torch.addmm(bias, h, maps)
        both[at].add_(hidden[:, : 2 * width]).sigmoid_()
        share.copy_(hidden[:, 2 * width :])
        new[at].addcmul_(reset[at], share).tanh_()
        h = torch.lerp(new[at], h, update[at], out=state)
    return states, gates, of_state


@torch.library.custom_op("isoflop::gru_back", mutates_args=())
def _back(gradient: Tensor, states: Tensor, gates: Tensor, of_state: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of W h + b and of the inputs' shares, (seq, batch, 3 width) each."""
    width = weight.shape[1]
    reset, update, new = gates.split(width, dim=-1)
    before = torch.cat((torch.zeros_like(states[:1]), states[:-1]))
    # by what a state's gradient is multiplied on its way into each gate, before its function
    into_new = (1 - update) * (1 - new.square())
    into_reset, into_update = into_new * of_state * reset * (1 - reset), (before - new) * update * (1 - update)
    factors = torch.stack((into_reset, into_update, into_new * reset), dim=2)  # (seq, batch, 3, width)
    of_hidden, total = torch.empty_like(factors), gradient.contiguous().clone()
    passed = torch.zeros_like(total[0])
    for at in range(len(states) - 1, -1, -1):
        here = total[at].add_(passed)
        torch.mul(here[:, None], factors[at], out=of_hidden[at])
        passed = torch.addmm(here * update[at], of_hidden[at].flatten(1), weight)
    flat = of_hidden.flatten(2)
    return flat, torch.cat((flat[..., : 2 * width], total * into_new), dim=-1)


@_states.register_fake
def _(inputs: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, seq, width = inputs.shape[0], inputs.shape[1], weight.shape[1]
    state = inputs.new_empty(seq, batch, width)
    return state, inputs.new_empty(seq, batch, 3 * width), torch.empty_like(state)


@_back.register_fake
def _(gradient: Tensor, states: Tensor, gates: Tensor, of_state: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(gates), torch.empty_like(gates)


def _gradient(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    states, gates, of_state, weight = ctx.saved_tensors
    of_hidden, of_inputs = _back(gradient, states, gates, of_state, weight)
    flat = of_hidden.flatten(0, 1)
    of_weight = of_hidden[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)
    return of_inputs.transpose(0, 1), of_weight, flat.sum(0)


_states.register_autograd(
    _gradient, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*output, inputs[1])
)


def tanh(x: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor) -> Tensor:
    """Return the states of torch.nn.RNN, h = tanh(x's share + W h + b), from a zero state, (batch, seq, width)."""
    return _tanh_states(linear(x, weight_in, bias_in + bias), weight).transpose(0, 1)  # type: ignore[no-any-return]


@torch.library.custom_op("isoflop::tanh_rnn", mutates_args=())
def _tanh_states(inputs: Tensor, weight: Tensor) -> Tensor:
    states, maps = inputs.transpose(0, 1).clone(memory_format=torch.contiguous_format), weight.t()
    h, *rest = states.unbind(0)
    h.tanh_()
    for state in rest:
        h = state.addmm_(h, maps).tanh_()
    return states


@torch.library.custom_op("isoflop::tanh_rnn_back", mutates_args=())
def _tanh_back(gradient: Tensor, states: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of tanh's argument, (seq, batch, width)."""
    slopes, total = (1 - states.square()).unbind(0), gradient.clone(memory_format=torch.contiguous_format)
    *rest, later = total.unbind(0)
    later.mul_(slopes[-1])
    for here, slope in zip(reversed(rest), reversed(slopes[:-1]), strict=True):
        later = here.addmm_(later, weight).mul_(slope)
    return total


@_tanh_states.register_fake
def _(inputs: Tensor, weight: Tensor) -> Tensor:
    return inputs.new_empty(inputs.shape[1], inputs.shape[0], inputs.shape[2])


@_tanh_back.register_fake
def _(gradient: Tensor, states: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(states)


def _gradient_tanh(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    states, weight = ctx.saved_tensors
    total = _tanh_back(gradient, states, weight)
    return total.transpose(0, 1), total[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)


_tanh_states.register_autograd(
    _gradient_tanh, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(output, inputs[1])
)


def fold(t: Tensor, size: int) -> Tensor:
    """Cut the sequence into chunks, the last padded with zeros: (batch, seq, ...) to (batch, chunks, size, ...)."""
    missing = -t.shape[1] % size
    if missing:
        t = pad(t, (0, 0) * (t.dim() - 2) + (0, missing))
    return t.unflatten(1, (-1, size))  # type: ignore[no-any-return]


def linear_scan(keep: Tensor, new: Tensor) -> Tensor:
    """Return h_t = keep_t h_{t-1} + new_t over dim 1 of (batch, seq, width) from a zero state; keep is in 0 to 1.

    In about sqrt(seq) chunks: position by position in all of them at once, then the state from chunk to chunk. Nothing
    is multiplied but by numbers up to one, so that nothing overflows.
    """
    return _scanned(keep, new)  # type: ignore[no-any-return]


def _scan(keep: Tensor, new: Tensor) -> Tensor:
    seq, size = keep.shape[1], _chunk_size(keep.shape[1])
    through, h = _owned(fold(keep, size), keep), _owned(fold(new, size), new)  # (batch, chunks, size, width)
    for at in range(1, size):
        h[:, :, at].addcmul_(through[:, :, at], h[:, :, at - 1])
        through[:, :, at].mul_(through[:, :, at - 1])  # how much is kept since the chunk's start
    for chunk in range(1, h.shape[1]):
        h[:, chunk].addcmul_(through[:, chunk], h[:, chunk - 1, -1:])
    return h.flatten(1, 2)[:, :seq].contiguous()


def _scan_back(keep: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of new: g_t = gradient_t + keep_{t+1} g_{t+1}, from the end."""
    seq, size = keep.shape[1], _chunk_size(keep.shape[1])
    through, g = fold(pad(keep[:, 1:], (0, 0, 0, 1)), size), _owned(fold(gradient, size), gradient)
    for at in range(size - 2, -1, -1):
        g[:, :, at].addcmul_(through[:, :, at], g[:, :, at + 1])
        through[:, :, at].mul_(through[:, :, at + 1])
    for chunk in range(g.shape[1] - 2, -1, -1):
        g[:, chunk].addcmul_(through[:, chunk], g[:, chunk + 1, :1])
    return g.flatten(1, 2)[:, :seq].contiguous()


def _chunk_size(seq: int) -> int:
    """Return a power of two near the root of seq, which divides lengths that are powers of two."""
    return 1 << (seq.bit_length() // 2)


def _owned(folded: Tensor, of: Tensor) -> Tensor:
    """Return a tensor that may be overwritten: a copy, unless folding has made one."""
    return folded.clone() if folded.untyped_storage().data_ptr() == of.untyped_storage().data_ptr() else folded


_scanned = torch.library.custom_op("isoflop::linear_scan", _scan, mutates_args=())
_scanned_back = torch.library.custom_op("isoflop::linear_scan_back", _scan_back, mutates_args=())


@_scanned.register_fake
@_scanned_back.register_fake
def _(keep: Tensor, new: Tensor) -> Tensor:
    return torch.empty_like(new, memory_format=torch.contiguous_format)


def _gradient_of_scan(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of keep and new; keep_t gets that of new_t times the state before."""
    keep, h = ctx.saved_tensors
    of_new = _scanned_back(keep, gradient)
    return pad(of_new[:, 1:] * h[:, :-1], (0, 0, 1, 0)), of_new


_scanned.register_autograd(
    _gradient_of_scan, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0], output)
)


def gated_scan(both: Tensor) -> Tensor:
    """Return h_t = (1 - z_t) h_{t-1} + z_t g(c_t), (batch, seq, width), with z = sigmoid(gates) and g(c) = c + 1/2
    above 0, sigmoid(c) below; both: gates and c side by side, (batch, seq, 2 width)."""
    h: Tensor = _GatedScan.apply(both)
    return h


class _GatedScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, candidate = both.chunk(2, dim=-1)
        open_, low = gate.sigmoid(), candidate.clamp_max(0).sigmoid_()
        new = candidate.clamp_min(0).add_(low)
        h: Tensor = _scan(1 - open_, open_ * new)
        ctx.save_for_backward(candidate, open_, low, new, h)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        candidate, open_, low, new, h = ctx.saved_tensors
        of_both: Tensor = h.new_empty(*h.shape[:-1], 2 * h.shape[-1])
        keep = 1 - open_
        of_gate, of_candidate = of_both.chunk(2, dim=-1)
        of_new = _scan_back(keep, gradient).mul_(open_)
        gained = new.clone()
        gained[:, 1:] -= h[:, :-1]
        torch.mul(of_new, keep, out=of_gate).mul_(gained)
        # the slope is that of the sigmoid, a quarter above 0, and three quarters more there
        torch.ops.aten.sigmoid_backward(of_new, low, grad_input=of_candidate)
        of_candidate.add_(torch.ops.aten.threshold_backward(of_new, candidate, 0), alpha=0.75)
        return of_both
