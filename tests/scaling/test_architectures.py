"""The mechanisms inside the families, each against its definition worked out the plain way."""

import math
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from families import TASKS, TOKENS, batch, family
from torch import Tensor, nn
from torch.nn.functional import pad

from isoflop.scaling.families.layers import attention as attention_layer
from isoflop.scaling.families.layers import scan
from isoflop.scaling.families.layers.attention import AddPositions, Attention, Heads, _rotate, angles
from isoflop.scaling.families.layers.basic import RmsNorm
from isoflop.scaling.families.layers.cells import gated_scan, gru, linear_scan, tanh
from isoflop.scaling.families.layers.scan import causal, chunked_scan
from isoflop.scaling.families.recurrent import Cell, MinGru, _gated
from isoflop.scaling.families.ssm import Diagonal, Selective
from isoflop.scaling.families.transformer import Experts, Transformer
from isoflop.scaling.task import Task


@pytest.fixture(autouse=True)
def fixed() -> None:
    torch.manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# recurrences


def stepwise(x: Tensor, log_decay: Tensor, gain: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """h_t = exp(log_decay_t) h_{t-1} + gain_t write_t x_t' and y_t = read_t' h_t, one position after another."""
    h, out = torch.zeros(x.shape[0], x.shape[2], write.shape[2], x.shape[3], dtype=x.dtype), []
    for t in range(x.shape[1]):
        h = h * log_decay[:, t].exp()[..., None, None]
        h = h + gain[:, t, :, None, None] * write[:, t, None, :, None] * x[:, t, :, None, :]
        out.append((read[:, t, None, :, None] * h).sum(2))
    return torch.stack(out, dim=1)


@pytest.mark.parametrize("chunk", [1, 7, 16, 50, 64])
def test_the_chunked_scan_is_the_recurrence(chunk: int) -> None:
    x, log_decay, gain = normal(2, 50, 3, 4), -2 * normal(2, 50, 3).abs(), normal(2, 50, 3).exp()
    write, read = normal(2, 50, 5), normal(2, 50, 5)
    difference = chunked_scan(x, log_decay, gain, write, read, chunk) - stepwise(x, log_decay, gain, write, read)
    assert difference.abs().max() < 1e-10


def test_the_chunked_scan_carries_a_state_that_hardly_decays_and_forgets_one_that_does() -> None:
    x, one = torch.ones(1, 4096, 1, 1).double(), torch.ones(1, 4096, 1).double()
    never = chunked_scan(x, 0 * one, one, one, one, 64)
    assert never[0, -1, 0, 0] == pytest.approx(4096)
    at_once = chunked_scan(x, -1e4 * one, one, one, one, 64)
    assert torch.equal(at_once, x)


@pytest.mark.parametrize("seq", [1, 3, 9])
def test_the_short_convolution_is_that_of_torch_and_so_is_its_gradient(seq: int) -> None:
    of, x = nn.Conv1d(5, 5, 4, groups=5).double(), normal(2, seq, 5).requires_grad_()
    plain = of(pad(x, (0, 0, 3, 0)).transpose(1, 2)).transpose(1, 2)
    assert agree(causal(x, of.weight, of.bias), plain, [x, *of.parameters()])


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_gradient_of_the_chunks_on_a_cpu_is_that_of_what_they_are(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    scan_of = (normal(2, 50, 3, 4), -2 * normal(2, 50, 3).abs(), normal(2, 50, 3).exp())
    inputs = [t.requires_grad_() for t in (*scan_of, normal(2, 50, 5), normal(2, 50, 5))]
    fast = chunked_scan(*inputs, chunk)
    monkeypatch.setattr(scan, "plain_on_cpu", lambda *_: False)
    assert agree(fast, chunked_scan(*inputs, chunk), inputs)


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Of a sum in which every number of y has a weight of its own."""
    weights = torch.arange(y.numel(), dtype=y.dtype).view(y.shape).sin()
    return list(torch.autograd.grad((y * weights).sum(), inputs))


def agree(a: Tensor, b: Tensor, inputs: list[Tensor]) -> bool:
    pairs = zip((a, *gradients(a, inputs)), (b, *gradients(b, inputs)), strict=True)
    return all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in pairs)


@pytest.mark.parametrize("seq", [1, 2, 16, 37])
def test_the_linear_scan_is_the_recurrence_and_so_is_its_gradient(seq: int) -> None:
    keep, new = normal(2, seq, 3).sigmoid().requires_grad_(), normal(2, seq, 3).requires_grad_()
    states = [new[:, 0]]
    for t in range(1, seq):
        states.append(keep[:, t] * states[-1] + new[:, t])
    if seq == 1:  # nothing is kept of a zero state
        states[0] = states[0] + 0 * keep[:, 0]
    assert agree(linear_scan(keep, new), torch.stack(states, dim=1), [keep, new])


@pytest.mark.parametrize(("ours", "torchs"), [(gru, nn.GRU), (tanh, nn.RNN)])
def test_a_cell_for_cpus_is_that_of_torch_and_so_is_its_gradient(
    ours: Callable[..., Tensor], torchs: type[nn.RNNBase]
) -> None:
    rnn, x = torchs(5, 5, batch_first=True).double(), normal(3, 7, 5).requires_grad_()
    h = ours(x, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)
    assert agree(h, rnn(x)[0], [x, *rnn.parameters()])


def test_the_gated_scan_for_cpus_is_that_of_the_gates_and_so_is_its_gradient() -> None:
    both = normal(2, 37, 6).requires_grad_()
    assert agree(gated_scan(both), _gated(both), [both])


def test_the_normalisation_for_cpus_is_that_of_torch_and_so_is_its_gradient() -> None:
    norm, x = RmsNorm(6).double(), (3 * normal(2, 5, 6)).requires_grad_()
    nn.init.normal_(norm.weight)
    assert agree(norm(x), nn.RMSNorm.forward(norm, x), [x, norm.weight])


@pytest.mark.sample(1)
@pytest.mark.parametrize("layer", [MinGru(8), Selective(8, 16, 4, 8, 4, chunk=4)])
def test_a_scan_is_one_operation_to_a_compiler(layer: nn.Module) -> None:
    layer, x = layer.double(), normal(2, 9, 8)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert agree(compiled(x), layer(x), list(layer.parameters()))
    torch._dynamo.reset()


def test_a_selective_layer_does_not_depend_on_its_chunk() -> None:
    layer, x = Selective(32, 64, 8, 32, 4, chunk=64).double(), normal(2, 100, 32)
    whole = layer(x)
    layer.chunk = 16
    assert (layer(x) - whole).abs().max() < 1e-10


def test_the_diagonal_kernel_is_the_recurrence() -> None:
    layer, T = Diagonal(6, 4).double(), 40
    pole = torch.complex(-layer.log_decay.exp(), layer.frequency)
    decay = torch.exp(pole * layer.log_step.exp()[:, None])
    u, h, out = normal(T, 6), torch.zeros(6, 4, dtype=torch.complex128), []
    for t in range(T):
        h = decay * h + (decay - 1) / pole * u[t][:, None]  # zero-order hold
        out.append(2 * (torch.complex(layer.read[0], layer.read[1]) * h).sum(1).real)
    convolved = torch.stack([(layer.kernel(T)[:, : t + 1].flip(1) * u[: t + 1].T).sum(1) for t in range(T)])
    assert (torch.stack(out) - convolved).abs().max() < 1e-10
    spectrum = torch.fft.rfft(u.T, n=2 * T) * torch.fft.rfft(layer.kernel(T), n=2 * T)
    assert (torch.fft.irfft(spectrum, n=2 * T)[:, :T].T - convolved).abs().max() < 1e-10


def test_the_min_gru_is_its_recurrence() -> None:
    layer, x = MinGru(8).double(), 3 * normal(2, 60, 8)
    gate, candidate = layer.gate_candidate(x).chunk(2, dim=-1)
    z, new = gate.sigmoid(), torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())
    h, out = torch.zeros(2, 8, dtype=torch.float64), []
    for t in range(60):
        h = (1 - z[:, t]) * h + z[:, t] * new[:, t]
        out.append(h)
    assert (layer(x) - layer.out(torch.stack(out, dim=1))).abs().max() < 1e-10


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_orthogonal_maps_from_state_to_state_keep_lengths(cell: str) -> None:
    weight = Cell(cell, 16, "orthogonal").rnn.weight_hh_l0
    for gate in weight.detach().chunk(len(weight) // 16):
        assert torch.allclose(gate @ gate.T, torch.eye(16), atol=1e-5)


# attention and positions


def attention(positions: str = "none", causal: bool = True, group: int = 1, qk_norm: bool = False) -> Attention:
    return Attention(64, Heads(16, group, qk_norm), 24, causal, positions).double()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_attention_is_the_softmax_of_scaled_products(positions: str, causal: bool) -> None:
    layer, x = attention(positions, causal), normal(2, 24, 64)
    q, k, v = (part.view(2, 24, 4, 16).transpose(1, 2) for part in layer.qkv(x).chunk(3, dim=-1))
    at = torch.arange(24)
    if positions == "rotary":
        turn = torch.polar(torch.ones(24, 8).double(), at[:, None] * 10_000.0 ** (-torch.arange(8) / 8).double())
        q, k = (torch.complex(*t.chunk(2, dim=-1)) * turn for t in (q, k))
        scores = (q @ k.conj().transpose(2, 3)).real / 4
    else:
        scores = q @ k.transpose(2, 3) / 4
    if positions == "alibi":
        slopes = torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256]).double()  # arXiv:2108.12409 for 4 heads: 2^-2 ... 2^-8
        scores = scores - slopes[:, None, None] * (at[:, None] - at).abs()
    if causal:
        scores = scores.masked_fill(at > at[:, None], -math.inf)
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 24, 64)
    assert (layer(x) - layer.out(out)).abs().max() < 1e-6  # the rotary table is kept in float32


@pytest.mark.parametrize("group", [2, 4])
def test_grouped_heads_are_full_heads_that_repeat(group: int) -> None:
    grouped, full = attention(group=group), attention()
    q, k, v = grouped.qkv.weight.detach().split((64, 64 // group, 64 // group))
    repeated = [part.view(-1, 16, 64).repeat_interleave(group, dim=0).reshape(64, 64) for part in (k, v)]
    full.qkv.weight.data = torch.cat((q, *repeated))
    full.out = grouped.out
    x = normal(2, 24, 64)
    assert (grouped(x) - full(x)).abs().max() < 1e-12


def test_all_that_rotary_attention_knows_of_positions_is_their_distance() -> None:
    layer, x = attention("rotary", causal=False), normal(2, 24, 64)
    here, later = layer(x), angles(31, 16)[7:]
    layer.cos, layer.sin = later.cos(), later.sin()
    assert (layer(x) - here).abs().max() < 1e-5  # the rotary table is kept in float32


@pytest.mark.parametrize("group", [1, 2])
def test_rotation_by_rows_is_that_by_heads_and_so_is_its_gradient(monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    layer, x = Attention(32, Heads(8, group), 9, True, "rotary").double(), normal(2, 7, 32).requires_grad_()
    by_rows = layer(x)
    monkeypatch.setattr(attention_layer, "fused_here", lambda *_: False)
    assert agree(by_rows, layer(x), [x, *layer.parameters()])


def test_bidirectional_attention_without_positions_is_permutation_equivariant() -> None:
    task = TASKS["sequences"]
    model = family("transformer", positions="none", causal=False).build(task).double()
    nn.init.normal_(model.readout.weight)
    x, order = batch(task, 2).double(), torch.randperm(task.seq_len)
    assert (model(x[:, order]) - model(x)[:, order]).abs().max() < 1e-10
    told = family("transformer", positions="rotary", causal=False).build(task).double()
    nn.init.normal_(told.readout.weight)
    assert (told(x[:, order]) - told(x)[:, order]).abs().max() > 1e-3


def test_sinusoids_of_a_shift_are_a_rotation() -> None:
    table = AddPositions("sinusoidal", 64, 32).sinusoids.double()
    now, later = table[:-5], table[5:]
    turned = now @ torch.linalg.lstsq(now, later).solution
    assert (turned - later).abs().max() < 1e-5  # float32 angles up to 64


@pytest.mark.parametrize("positions", ["rotary", "sinusoidal", "learned", "alibi"])
def test_every_kind_of_position_tells_them_apart(positions: str) -> None:
    task = TASKS["sequences"]
    model = family("transformer", positions=positions, causal=False).build(task)
    nn.init.normal_(model.readout.weight)
    x, order = batch(task, 1), torch.randperm(task.seq_len)
    assert (model(x[:, order]) - model(x)[:, order]).abs().max() > 1e-3


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("kind", ["rms", "layer"])
@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu"])
def test_every_variant_of_the_transformer_runs(norm: str, kind: str, feed_forward: str) -> None:
    made = family("transformer", norm=norm, norm_kind=kind, feed_forward=feed_forward, qk_norm=True)
    model = made.build(TOKENS)
    nn.init.normal_(model.readout.weight)
    out = model(batch(TOKENS, 2))
    assert out.isfinite().all()
    norms = [m for m in model.modules() if isinstance(m, nn.RMSNorm if kind == "rms" else nn.LayerNorm)]
    assert len([m for m in norms if m.normalized_shape == (32,)]) == {"pre": 5, "post": 4, "none": 0}[norm]


def test_swiglu_has_the_parameters_of_gelu_to_two_percent() -> None:
    def size(feed_forward: str) -> int:
        return sum(
            p.numel() for p in family("transformer", width=64, feed_forward=feed_forward).build(TOKENS).parameters()
        )

    assert size("swiglu") == pytest.approx(size("gelu"), rel=0.02)


def test_shared_layers_are_one_object() -> None:
    made = family("transformer", depth=3, shared=True)
    assert isinstance(made, Transformer)
    layers = made.layers(32, causal=True)
    assert layers[0] is layers[2] is layers[4]
    assert layers[1] is layers[3]


# experts


def experts(capacity: float | None = None, top_k: int = 2, balance: float = 0.01) -> Experts:
    return Experts(16, 24, experts=4, top_k=top_k, capacity=capacity, balance=balance).double()


def test_experts_that_drop_nothing_are_the_weighted_sum_of_the_chosen() -> None:
    layer, x = experts(), normal(3, 20, 16)
    shares = layer.router(x).softmax(-1)
    every = torch.stack([nn.functional.gelu(x @ up) @ down for up, down in zip(layer.up, layer.down, strict=True)], 2)
    weight, chosen = shares.topk(2)
    kept = torch.zeros_like(shares).scatter(2, chosen, weight / weight.sum(-1, keepdim=True))
    assert (layer(x) - (kept[..., None] * every).sum(2)).abs().max() < 1e-10
    assert layer.health["router_dropped"] == 0


def test_a_full_expert_drops_the_later_positions() -> None:
    layer = experts(capacity=1.0, top_k=1)
    x = normal(1, 1, 16).expand(2, 20, 16)  # every position goes to one expert, which has places for 5
    out = layer(x)
    assert layer.places(20) == 5
    assert (out[:, :5].abs().sum(-1) > 0).all()
    assert (out[:, 5:] == 0).all()
    assert layer.health["router_dropped"] == pytest.approx(0.75)
    assert layer.health["router_max_load"] == pytest.approx(4)


def test_the_balance_loss_is_least_where_routing_is_even() -> None:
    layer = experts(balance=1.0, top_k=1)
    even = torch.eye(4).double().repeat(1, 5, 1)  # each expert is sure of a quarter
    picked = even.bool()
    layer.report(even, picked, picked[..., 0])
    assert layer.auxiliary.item() == pytest.approx(1)
    one = torch.zeros_like(even)
    one[..., 0] = 1
    layer.report(one, one.bool(), picked[..., 0])
    assert layer.auxiliary.item() == pytest.approx(4)


class ElsewhereTensor(Tensor):
    """A tensor of this CPU that says it is on a GPU."""

    device = torch.device("cuda")  # type: ignore[assignment]


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_a_fused_cell_on_a_gpu_is_left_alone_by_autocast_which_would_make_it_fp16(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, seen = Cell(cell, 8, "normal"), []

    def noted(x: Tensor) -> tuple[Tensor, None]:
        seen.append((torch.is_autocast_enabled("cuda"), x.dtype))
        return x, None

    monkeypatch.setattr(layer.rnn, "forward", noted)
    torch.set_autocast_enabled("cuda", True)  # as on a machine with a GPU; the context manager needs one
    try:
        layer(torch.zeros(2, 3, 8, dtype=torch.bfloat16).as_subclass(ElsewhereTensor))
    finally:
        torch.set_autocast_enabled("cuda", False)
    assert seen == [(False, torch.float32)]


def test_late_positions_are_turned_by_their_own_angle_in_bf16() -> None:
    turns, x = angles(4096, 16), torch.randn(1, 1, 4096, 16)
    exact = _rotate(x.double(), turns.double().cos(), turns.double().sin())
    turned = _rotate(x.bfloat16(), turns.cos(), turns.sin())
    assert turned.dtype == torch.bfloat16
    # two roundings to bf16, of the input and the output; one more of the angles' sines is a third more
    assert (turned - exact).norm() < 0.0025 * exact.norm()


def test_no_layer_keeps_the_graph_of_a_loss_that_was_taken() -> None:
    """A kept graph names the stream on which it was made, so that no CUDA graph of a step could be captured."""
    model = family("moe", depth=1).build(TOKENS)
    model(batch(TOKENS, 2))
    (layer,) = [module for module in model.modules() if isinstance(module, Experts)]
    kept = weakref.ref(layer.auxiliary)
    assert kept() is not None
    total = model.auxiliary()
    assert total.requires_grad
    del total
    assert kept() is None


def test_the_balance_loss_reaches_the_router() -> None:
    model = family("moe").build(TOKENS)
    model(batch(TOKENS, 2))
    model.auxiliary().backward()
    routers = [p for name, p in model.named_parameters() if "router" in name]
    assert len(routers) == 2
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in routers)
    assert set(model.health()) == {"router_dropped", "router_max_load", "router_entropy"}


# depth


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["resnet", "mlp"])
def test_a_thousand_layers_train_a_step(name: str) -> None:
    task = replace(TASKS["images"], seq_len=4)
    model = family(name, width=4, depth=500 if name == "resnet" else 1000).build(task)  # two convolutions a layer
    nn.init.normal_(model.readout.weight, std=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x, y = batch(task, 8), torch.randint(10, (8,))
    losses = []
    for _ in range(2):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert losses[1] < losses[0]


@pytest.mark.parametrize("name", ["resnet", "mlp"])
def test_residual_off_is_the_same_net_without_its_shortcuts(name: str) -> None:
    task = Task("images", d_in=1, d_out=10, seq_len=8, targets=1)

    def shapes(residual: bool) -> list[torch.Size]:
        return sorted(p.shape for p in family(name, depth=3, residual=residual).build(task).parameters())

    assert shapes(True) == shapes(False)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_a_plain_layer_without_norm_keeps_the_mean_square(activation: str) -> None:
    layer = family("mlp", residual=False, norm=False, activation=activation, width=512).layer()
    assert layer(torch.randn(512, 512)).square().mean().item() == pytest.approx(1, rel=0.1)


def test_a_deep_plain_tanh_net_without_norm_does_not_fade() -> None:
    model = family("mlp", residual=False, norm=False, activation="tanh", width=128, depth=20).build(TASKS["vectors"])
    assert 0.3 < model.body(torch.randn(256, 20)).square().mean() ** 0.5 < 1
