"""Linear recurrences worked out in parallel over time, in plain torch.

h_t = exp(log_decay_t) h_{t-1} + gain_t write_t x_t' and y_t = read_t' h_t, in chunks of matrix products:

    y = chunked_scan(x, log_decay, gain, write, read, chunk=64)
"""

import torch
from torch import Tensor
from torch.nn.functional import pad


def chunked_scan(x: Tensor, log_decay: Tensor, gain: Tensor, write: Tensor, read: Tensor, chunk: int) -> Tensor:
    """The state-space duality of Mamba-2 (arXiv:2405.21060, sec. 6): products within chunks, states between them.

    x: (batch, seq, heads, head). log_decay, at most 0, and gain, above 0: (batch, seq, heads). write, read:
    (batch, seq, state), shared by the heads. Returns (batch, seq, heads, head). Linear in seq.
    """
    _, seq, heads, head = x.shape
    size = min(chunk, seq)
    # (batch, chunks, size, ...)
    log_gain = gain.clamp_min(torch.finfo(gain.dtype).tiny).log()
    x, log_decay, log_gain, write, read = (fold(t, size) for t in (x, log_decay, log_gain, write, read))
    through = log_decay.cumsum(2).transpose(2, 3)  # (batch, chunks, heads, size), log of the decay since its start
    values = x.transpose(2, 3)  # (batch, chunks, heads, size, head)

    # within: position i takes from j <= i what has not decayed since
    gained = through - log_gain.transpose(2, 3)
    since = through[..., :, None] - gained[..., None, :]  # (batch, chunks, heads, size, size)
    future = torch.ones(size, size, dtype=torch.bool, device=x.device).triu(1)
    match = (read @ write.transpose(2, 3))[:, :, None]  # (batch, chunks, 1, size, size)
    within = (match * since.masked_fill(future, float("-inf")).exp()) @ values

    # between: what each chunk leaves, carried on from chunk to chunk, and what each position takes of what was carried
    left = (through[..., -1:] - gained).exp()  # (batch, chunks, heads, size)
    gains = write.transpose(2, 3) @ (values * left[..., None]).transpose(2, 3).flatten(3)  # (.., state, heads * head)
    states = carried(gains.unflatten(3, (heads, head)), through[..., -1].exp())  # (.., state, heads, head)
    taken = (read @ states.flatten(3)).unflatten(3, (heads, head)).transpose(2, 3)  # (.., heads, size, head)
    y = within + taken * through.exp()[..., None]
    return y.transpose(2, 3).flatten(1, 2)[:, :seq]  # type: ignore[no-any-return]


def fold(t: Tensor, size: int) -> Tensor:
    """Cut the sequence into chunks, the last filled up with zeros: (batch, seq, ...) to (batch, chunks, size, ...)."""
    missing = -t.shape[1] % size
    if missing:
        t = pad(t, (0, 0) * (t.dim() - 2) + (0, missing))
    return t.unflatten(1, (-1, size))  # type: ignore[no-any-return]


def carried(gains: Tensor, decays: Tensor) -> Tensor:
    """State at the start of each chunk, from what each adds (batch, chunks, state, heads, head) and its decay."""
    state = torch.zeros_like(gains[:, 0])
    states = []
    for gain, decay in zip(gains.unbind(1), decays.unbind(1), strict=True):
        states.append(state)
        state = state * decay[:, None, :, None] + gain
    return torch.stack(states, dim=1)


def doubling_scan(keep: Tensor, new: Tensor, chunk: int = 32) -> Tensor:
    """h_t = keep_t h_{t-1} + new_t over dim 1 of (batch, seq, width) from a zero state, with keep from 0 to 1.

    Within a chunk each of log2(chunk) steps doubles how far back a position has looked (Hillis and Steele 1986), and a
    state goes from chunk to chunk. Nothing is multiplied but by numbers up to one, so that nothing overflows.
    """
    seq = keep.shape[1]
    size = min(chunk, seq)
    keep, h = fold(keep, size), fold(new, size)  # (batch, chunks, size, width)
    back = 1
    while back < size:
        h = torch.cat((h[:, :, :back], h[:, :, back:] + keep[:, :, back:] * h[:, :, :-back]), dim=2)
        keep = torch.cat((keep[:, :, :back], keep[:, :, back:] * keep[:, :, :-back]), dim=2)
        back *= 2
    state, states = torch.zeros_like(h[:, 0, 0]), []
    for decay, gained in zip(keep[:, :, -1].unbind(1), h[:, :, -1].unbind(1), strict=True):
        states.append(state)
        state = state * decay + gained
    h = h + keep * torch.stack(states, dim=1)[:, :, None]
    return h.flatten(1, 2)[:, :seq]
