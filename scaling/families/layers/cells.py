"""Recurrences of a GRU and of a tanh network for CPUs, where torch's own take dozens of small operations a position.

Here a position of a GRU takes seven forward and four backward, one of a tanh network two and two.

    h = gru(x, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)      # rnn(x)[0]
    h = tanh(x, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear


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


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output, inputs[1])


def _gradient(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    states, gates, of_state, weight = ctx.saved_tensors
    of_hidden, of_inputs = _back(gradient, states, gates, of_state, weight)
    flat = of_hidden.flatten(0, 1)
    of_weight = of_hidden[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)
    return of_inputs.transpose(0, 1), of_weight, flat.sum(0)


_states.register_autograd(_gradient, setup_context=_save)


def tanh(x: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor) -> Tensor:
    """Return the states of torch.nn.RNN, h = tanh(x's share + W h + b), from a zero state, (batch, seq, width)."""
    return _tanh_states(linear(x, weight_in, bias_in + bias), weight).transpose(0, 1)  # type: ignore[no-any-return]


@torch.library.custom_op("isoflop::tanh_rnn", mutates_args=())
def _tanh_states(inputs: Tensor, weight: Tensor) -> Tensor:
    """Return the states, (seq, batch, width)."""
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


def _save_tanh(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, inputs[1])


def _gradient_tanh(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    states, weight = ctx.saved_tensors
    total = _tanh_back(gradient, states, weight)
    return total.transpose(0, 1), total[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)


_tanh_states.register_autograd(_gradient_tanh, setup_context=_save_tanh)
