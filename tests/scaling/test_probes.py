"""Probes: each finds an answer that is known, means nothing where it should not be asked, and changes nothing."""

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Isoflop
from families import CASES, TASKS, batch, family
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from isoflop import record
from isoflop.errors import UserError
from isoflop.folder import RunFolder
from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.data.base import InMemory
from isoflop.scaling.data.synthetic.copy import Copy
from isoflop.scaling.data.synthetic.markov import Markov, _chain
from isoflop.scaling.data.synthetic.spectral import Spectral
from isoflop.scaling.families.base import Model
from isoflop.scaling.probes import step_time
from isoflop.scaling.probes.eigenfunctions import Eigenfunctions, _rank, _spearman
from isoflop.scaling.probes.equivariance import Equivariance
from isoflop.scaling.probes.extrapolation import Extrapolation
from isoflop.scaling.probes.gradients import Gradients
from isoflop.scaling.probes.information import Information
from isoflop.scaling.probes.positions import Positions
from isoflop.scaling.probes.precision import Precision, _rounded
from isoflop.scaling.probes.recurrence_of_positions import RecurrenceOfPositions
from isoflop.scaling.probes.step_time import StepTime, _least_time, _log_slope
from isoflop.scaling.probes.symmetry import Symmetry, _share_of_chain, _share_of_pairs
from isoflop.scaling.subject import Measurement, Probe, Subject, _untouched, measure, refuse_probe
from isoflop.scaling.task import Task

YAMLS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/probe").glob("*.yaml"))


# knobs of what would take long for every family
QUICK: dict[str, dict[str, object]] = {"step_time": {"seq_lens": (8, 16), "repeats": 1}}


@cache
def nodes() -> dict[str, dict[str, object]]:
    """The yaml of each probe, composed once for all."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", [f"probe=[{','.join(YAMLS)}]"], return_hydra_config=True)
    return OmegaConf.to_container(cfg.probe)  # type: ignore[return-value]


def probe(name: str, **knobs: object) -> Probe:
    """A probe as its yaml has it, but for the knobs given."""
    return instantiate(nodes()[name] | knobs)


def subject(name: str, kind: str, n: int = 8) -> Subject:
    """A small family, untrained, on random data of a kind."""
    task = TASKS[kind]
    torch.manual_seed(0)
    model = family(name, width=16, depth=1).build(task)
    x = batch(task, n)
    y = torch.randn(n, task.d_out) if task.loss == "mse" else torch.randint(task.d_out, (n, task.targets))
    if kind == "sequences":  # the first positions bear no loss
        y = torch.cat((torch.full((n, task.seq_len - task.targets), -1), y), dim=1)
    y = y.squeeze(1) if kind == "images" else y
    data = Random(kind, task.seq_len) if kind in ("tokens", "sequences") else None
    rebuild = family(name, width=16, depth=1).build
    return Subject(model, task, InMemory(x, y, x, y), "fp32", seed=0, data=data, rebuild=rebuild)


@dataclass(frozen=True)
class Random:
    """Random data of a kind, at any length; a target at every position."""

    kind: str
    seq_len: int
    eval_size: int = 64

    @property
    def task(self) -> Task:
        return replace(TASKS[self.kind], seq_len=self.seq_len, targets=self.seq_len)

    @property
    def unique(self) -> int:
        return self.eval_size

    def load(self) -> InMemory:
        x = batch(self.task, min(8, self.eval_size // self.seq_len))
        y = torch.randint(self.task.d_out, x.shape[:2])
        return InMemory(x, y, x, y)


def test_every_probe_is_a_yaml_that_builds() -> None:
    assert YAMLS
    for name in YAMLS:
        assert set(probe(name).kinds) <= set(TASKS)


@cache
def product() -> list[tuple[str, str, str]]:
    """Each family with each kind that it learns and each probe of that kind."""
    kinds = {yaml: probe(yaml, **QUICK.get(yaml, {})).kinds for yaml in YAMLS}
    return [(name, kind, yaml) for name, kind in CASES for yaml in YAMLS if kind in kinds[yaml]]


def pairwise() -> list[tuple[str, str, str]]:
    """Few of the product: each probe with each kind, each family with each kind; probes take turns among families."""
    chosen = []
    for kind in TASKS:
        cases = [(name, yaml) for name, k, yaml in product() if k == kind]
        names, yamls = (list(dict.fromkeys(column)) for column in zip(*cases, strict=True)) if cases else ([], [])
        turns = range(max(len(names), len(yamls)))
        chosen += [(names[i % len(names)], kind, yamls[i % len(yamls)]) for i in turns]
    return chosen


@pytest.mark.parametrize(("name", "kind", "yaml"), pairwise())
def test_a_probe_changes_nothing(name: str, kind: str, yaml: str) -> None:
    check_that_nothing_changes(name, kind, yaml)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "kind", "yaml"), sorted(set(product()) - set(pairwise())))
def test_no_probe_changes_any_family(name: str, kind: str, yaml: str) -> None:
    check_that_nothing_changes(name, kind, yaml)


def check_that_nothing_changes(name: str, kind: str, yaml: str) -> None:
    """Parameters, buffers, gradients, random state and modes are the same bits after a probe as before."""
    probes = {yaml: probe(yaml, **QUICK.get(yaml, {}))}
    it = subject(name, kind)
    it.model.train()
    loss = it.model(it.examples.held_out(8)[0][0]).float().square().mean()
    loss.backward()
    before = [t.clone() for t in (*it.model.parameters(), *it.model.buffers())]
    gradients = [None if p.grad is None else p.grad.clone() for p in it.model.parameters()]
    state = torch.random.get_rng_state()
    columns, _ = measure(probes, it)
    assert [key for key in columns if key.endswith(".reason")] == [], columns
    assert all(map(torch.equal, before, (*it.model.parameters(), *it.model.buffers())))
    for p, gradient in zip(it.model.parameters(), gradients, strict=True):
        assert (p.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(p.grad, gradient)  # type: ignore[arg-type]
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(module.training for module in it.model.modules())


def test_an_error_in_a_probe_is_a_null_with_its_reason() -> None:
    class Broken:
        kinds, version = ("tokens",), 1

        def measure(self, subject: Subject) -> Measurement:
            subject.model.eval()
            raise ValueError("no such layer")

    columns, points = measure({"broken": Broken()}, subject("mlp", "tokens"))
    assert columns["probe.broken.reason"] == "ValueError: no such layer"
    assert points == []


def test_a_probe_without_meaning_on_a_task_is_refused_before_anything_runs() -> None:
    with pytest.raises(UserError, match="probe=positions measures tokens, but data=spectral asks for vectors"):
        refuse_probe("positions", Positions(), "spectral", TASKS["vectors"])


class Stated(nn.Module):
    """A model whose loss is what is stated for each position, whatever the input."""

    def __init__(self, losses: Tensor) -> None:
        super().__init__()
        right = (-losses).exp()
        self.register_buffer("logits", torch.stack((right.log(), (1 - right).log()), dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1, -1)  # type: ignore[operator]


def stated(losses: Tensor) -> Subject:
    x = torch.zeros(8, len(losses), dtype=torch.long)
    task = Task("tokens", 2, 2, len(losses), targets=len(losses))
    return Subject(Stated(losses), task, InMemory(x, x, x, x), "fp32", seed=0)  # type: ignore[arg-type]


def test_the_loss_by_position_has_the_slope_that_the_model_has() -> None:
    t = torch.arange(1, 257)
    found = Positions().measure(stated(2 - 0.1 * t.log()))
    assert found.scalars["slope"] == pytest.approx(-0.1, abs=1e-5)
    assert [p.value for p in found.profiles[:2]] == pytest.approx([2, 2 - 0.1 * math.log(2)], abs=1e-5)
    flat = Positions().measure(stated(torch.full((256,), 1.5)))
    assert flat.scalars["slope"] == pytest.approx(0, abs=1e-6)
    assert Positions(after=100).measure(stated(torch.full((101,), 1.5))).scalars["slope"] is None


class Recurrence(nn.Module):
    """h_t = ρ Q h_{t-1} + e_t with an orthogonal Q."""

    def __init__(self, rho: float, width: int) -> None:
        super().__init__()
        self.register_buffer("map", rho * torch.linalg.qr(torch.randn(width, width)).Q)

    def forward(self, x: Tensor) -> Tensor:
        states = [x[:, 0]]
        for t in range(1, x.shape[1]):
            states.append(states[-1] @ self.map + x[:, t])  # type: ignore[operator]
        return torch.stack(states, dim=1)


@pytest.mark.parametrize("rho", [0.8, 1.0, 1.25])
def test_the_gradient_of_a_linear_recurrence_decays_by_its_radius(rho: float) -> None:
    torch.manual_seed(0)
    model = Model(nn.Embedding(5, 8), nn.Sequential(Recurrence(rho, 8)), nn.Linear(8, 5))
    task = Task("tokens", 5, 5, 32, targets=32)
    x = torch.randint(5, (64, 32))
    found = Gradients(factor=30, examples=64, directions=64).measure(
        Subject(model, task, InMemory(x, x, x, x), "fp32", 0)
    )
    assert found.scalars["slope"] == pytest.approx(math.log(rho), rel=0.01, abs=1e-3)
    assert found.scalars["vanishes"] == (1.0 if rho < 1 else 0.0)
    assert found.scalars["explodes"] == (1.0 if rho > 1 else 0.0)


def test_only_attention_without_positions_and_without_a_mask_is_equivariant() -> None:
    def deviation(**knobs: object) -> float:
        torch.manual_seed(0)
        it = subject("transformer", "sequences")
        model = family("transformer", width=32, depth=2, **knobs).build(it.task)
        nn.init.normal_(model.readout.weight)  # it starts at zero
        value = Equivariance().measure(Subject(model, it.task, it.examples, "fp32", seed=0)).scalars["deviation"]
        assert value is not None
        return value

    assert deviation(positions="none", causal=False) < 1e-5
    assert deviation(positions="none", causal=True) > 0.1
    assert deviation(positions="rotary", causal=False) > 0.01


def test_sinusoids_turn_by_a_fixed_map_and_random_rows_do_not() -> None:
    def residual(positions: str) -> float | None:
        task = Task("tokens", 16, 16, 128, targets=128)
        torch.manual_seed(0)
        model = family("transformer", width=32, depth=1, positions=positions).build(task)
        x = torch.randint(16, (2, 128))
        it = Subject(model, task, InMemory(x, x, x, x), "fp32", seed=0)
        return RecurrenceOfPositions().measure(it).scalars["residual"]

    assert residual("sinusoidal") < 1e-6  # type: ignore[operator]
    assert residual("learned") > 0.5  # type: ignore[operator]
    assert residual("rotary") is None


def test_weights_on_the_grid_lose_nothing_and_others_do() -> None:
    it = subject("mlp", "vectors", n=32)
    with torch.no_grad():
        it.model.readout.weight.normal_()  # it starts at zero, and then nothing else matters
        for p in it.model.parameters():
            if p.dim() >= 2:
                p.copy_(_rounded(p, 4))
    assert Precision(bits=(4,)).measure(it).scalars["delta_4"] == pytest.approx(0, abs=1e-6)
    assert abs(Precision(bits=(2,)).measure(it).scalars["delta_2"] or 0) > 1e-3
    assert _rounded(torch.tensor([1.0, 0.4, -0.2]), 2).tolist() == [1.0, 0.0, 0.0]


class Fading(nn.Module):
    """A model whose loss at position t is t / 100, up to as many positions as its table has."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.model = Stated(torch.arange(1, positions + 1) / 100)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[:, : x.shape[1]]


@dataclass(frozen=True)
class Zeros:
    """Sequences of zeros, which are loaded where `loads` counts it."""

    loads: list[int]
    seq_len: int = 8
    size: int = 1000
    eval_size: int = 1000

    @property
    def task(self) -> Task:
        return Task("tokens", 2, 2, self.seq_len, targets=self.seq_len)

    @property
    def unique(self) -> int:
        return self.size

    def load(self) -> InMemory:
        self.loads.append(self.seq_len)
        assert self.size == self.seq_len  # no more training examples than there have to be
        x = torch.zeros(self.eval_size // self.seq_len, self.seq_len, dtype=torch.long)
        return InMemory(x[:1], x[:1], x, x)


def test_the_loss_beyond_the_trained_length_is_that_of_its_late_positions() -> None:
    x = torch.zeros(16, 8, dtype=torch.long)
    data = Zeros(loads=[])

    def it(table: int) -> Subject:
        rebuild = lambda task: Fading(table if table else task.seq_len)  # noqa: E731
        return Subject(rebuild(data.task), data.task, InMemory(x, x, x, x), "fp32", 0, data, rebuild)  # type: ignore[arg-type,return-value]

    assert data.loads == []
    found = Extrapolation(times=(2, 4), examples=16).measure(it(64))
    assert data.loads == [16, 32]
    # the mean of t over T/2 < t <= T is 3 T / 4 + 1 / 2
    expected = {k: (6 * k + 0.5) / 6.5 for k in (2, 4)}
    assert found.scalars["ratio_2"] == pytest.approx(expected[2], rel=1e-5)
    assert found.scalars["ratio_4"] == pytest.approx(expected[4], rel=1e-5)
    assert found.scalars["accuracy_4"] == 1
    # of two classes the one is likelier as long as its loss t / 100 is below ln 2: up to t = 69 of 65 ... 128
    assert Extrapolation(times=(16,), examples=16).measure(it(128)).scalars["accuracy_16"] == 5 / 64
    assert (found.profiles[0].index, found.profiles[0].value) == (1, pytest.approx(0.065, rel=1e-5))


def test_a_model_that_cannot_take_the_length_has_no_value_there() -> None:
    def ratios(positions: str, **knobs: object) -> list[float | None]:
        made = family("transformer", width=16, depth=1, positions=positions, **knobs)
        data = Copy(size=64, seq_len=16, eval_size=256)
        torch.manual_seed(0)
        model = made.build(data.task)
        nn.init.normal_(model.readout.weight)

        def rebuild(task: Task) -> Model:
            made.refuse(task)
            return made.build(task)

        it = Subject(model, data.task, data.load(), "fp32", 0, data, rebuild)
        scalars = Extrapolation(times=(2, 4), examples=32).measure(it).scalars
        return [scalars["ratio_2"], scalars["ratio_4"]]

    for positions in ("rotary", "alibi", "sinusoidal", "none"):
        assert all(value is not None and math.isfinite(value) for value in ratios(positions)), positions
    assert ratios("learned") == [None, None]
    assert ratios("learned", context=32)[0] is not None
    assert ratios("learned", context=32)[1] is None


def test_a_longer_model_is_the_trained_one_on_what_it_was_trained_on() -> None:
    it = subject("transformer", "tokens")
    nn.init.normal_(it.model.readout.weight)
    longer = it.at_length(4, examples=2)
    assert longer is not None
    x = it.examples.held_out(2)[0][0]
    assert torch.allclose(longer.model(x), it.model(x), atol=1e-6)
    assert longer.model(longer.examples.held_out(2)[0][0]).shape[1] == 4 * it.task.seq_len


class Halved(nn.Module):
    """Two numbers become one."""

    def forward(self, x: Tensor) -> Tensor:
        return (x // 2).float()


def test_the_information_of_a_known_channel() -> None:
    # X is one of 8 numbers, Z = floor(X / 2): 2 bits. Y is 1 where Z >= 2, but for a flip in 0.11 of all: 1 - H(0.11)
    x = torch.arange(8.0).repeat(100)[:, None]
    flip = (torch.arange(800) // 8) % 100 < 11
    y = ((x[:, 0] >= 4) ^ flip).long()
    task = Task("vectors", 1, 2, 1, targets=1)
    model = Model(nn.Identity(), nn.Sequential(Halved()), nn.Linear(1, 2))
    scalars = Information().measure(Subject(model, task, InMemory(x, y, x, y), "fp32", seed=0)).scalars
    capacity = 1 + 0.11 * math.log2(0.11) + 0.89 * math.log2(0.89)
    for name in ("bins", "kde"):
        assert scalars[f"{name}_xz"] == pytest.approx(2, abs=0.05)
        assert scalars[f"{name}_zy"] == pytest.approx(capacity, abs=0.05)


def test_what_the_bins_and_the_noise_hide_is_no_information() -> None:
    x = 1e-3 * torch.arange(64.0)[:, None]
    model = Model(nn.Identity(), nn.Sequential(nn.Identity()), nn.Linear(1, 1))
    it = Subject(model, Task("vectors", 1, 1, 1, targets=1, loss="mse"), InMemory(x, x, x, x), "fp32", seed=0)
    scalars = Information(bins=4).measure(it).scalars
    assert scalars["bins_xz"] == pytest.approx(2)  # four bins, each as full
    assert scalars["kde_xz"] == pytest.approx(0, abs=0.01)


class Weighted(nn.Module):
    """At every position the weighted sum of all."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        return (x[..., 0] @ self.weights)[:, None, None].expand(-1, x.shape[1], 1)  # type: ignore[operator]


@pytest.mark.parametrize(
    "weights", [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0], [1.0, 2.0, 3.0, 4.0], [1.0, -1.0, 1.0, -1.0]]
)
def test_the_invariant_share_of_a_linear_function_is_that_of_its_mean_weight(weights: list[float]) -> None:
    w = torch.tensor(weights)
    x = torch.randn(4096, 4, 1, generator=torch.Generator().manual_seed(0))
    task = Task("sequences", 1, 1, 4, targets=4, loss="mse")
    it = Subject(Weighted(w), task, InMemory(x, x, x, x), "fp32", seed=0)  # type: ignore[arg-type]
    share = Symmetry(examples=4096, orders=8).measure(it).scalars["function"]
    # of independent inputs of one variance: T (mean w)² / sum w²
    assert share == pytest.approx(float(4 * w.mean() ** 2 / w.square().sum()), abs=0.02)


def test_the_invariant_share_of_pairs_of_exchangeable_tokens_and_of_a_chain() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random((1000, 1))
    coins = torch.from_numpy((rng.random((1000, 12)) < chance).astype(np.int64))  # each example a coin of its own
    assert _share_of_pairs(coins) == pytest.approx(1, abs=0.02)
    assert _share_of_pairs(torch.from_numpy(rng.integers(4, size=(500, 12)))) is None  # independent tokens

    data = Markov(size=64, symbols=4, sharpness=1.0, seq_len=16, eval_size=16 * 1200)
    model = family("mlp", width=16, depth=1).build(data.task)
    scalars = Symmetry(examples=1200, orders=2).measure(Subject(model, data.task, data.load(), "fp32", 0)).scalars
    chances, stationary = (torch.from_numpy(part) for part in _chain(4, 1, 1.0, 0))
    exact = _share_of_chain(chances, stationary, 16)
    assert exact is not None
    assert exact < 0.5
    assert scalars["pairs"] == pytest.approx(exact, abs=0.02)
    assert scalars["pairs_stationary"] == pytest.approx(exact, abs=0.02)
    assert scalars["pairs_shuffled"] == pytest.approx(1, abs=0.1)


def test_the_share_of_a_chain_is_that_of_its_covariances_written_out() -> None:
    # two symbols, P = [[s, 1-s], [1-s, s]]: C at a lag l is (2s - 1)^l / 4 times [[1, -1], [-1, 1]]
    s, length = 0.8, 5
    lags = [abs(t - u) for t in range(length) for u in range(length) if t != u]
    decays = [(2 * s - 1) ** lag for lag in lags]
    exact = sum(decays) ** 2 / len(decays) / sum(d * d for d in decays)
    P = torch.tensor([[s, 1 - s], [1 - s, s]], dtype=torch.float64)
    assert _share_of_chain(P, torch.full((2,), 0.5, dtype=torch.float64), length) == pytest.approx(exact)


def test_gradient_descent_fits_components_in_the_order_of_their_eigenvalues() -> None:
    data = Spectral(size=8, features=12, a=1.0, b=1.0, sigma=0.05, eval_size=2048)
    examples = data.load()
    x, y = (part.double() for part in examples.held_out(2048)[0])
    w, rate, steps = torch.zeros(12, 1, dtype=torch.float64), 0.3, 20
    for _ in range(steps):
        w -= rate * x.T @ (x @ w - y) / len(x)
    model = Model(nn.Identity(), nn.Identity(), nn.Linear(12, 1, bias=False))
    with torch.no_grad():
        model.readout.weight.copy_(w.T)
    found = Eigenfunctions().measure(Subject(model, data.task, examples, "fp32", seed=0))
    assert found.scalars["rank_correlation"] == pytest.approx(1)
    assert found.scalars["count"] == 12
    value = {p.index: p.value for p in found.profiles if p.quantity == "eigenvalue"}
    for point in found.profiles:
        if point.quantity == "left":
            assert point.value == pytest.approx((1 - rate * value[point.index]) ** steps, abs=1e-4)


def test_ranks_of_alike_values_are_shared() -> None:
    assert _rank(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert _spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9.0, 5.0, 1.0])) == pytest.approx(-1)
    assert _spearman(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3)) is None


def test_the_clock_of_a_step_is_the_process_on_a_cpu_and_the_wall_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(step_time.time, "process_time", iter([0.0, 1.0, 1.0, 3.0]).__next__)
    monkeypatch.setattr(step_time.time, "perf_counter", iter([0.0, 1.0, 1.0, 6.0]).__next__)
    assert [_least_time(lambda: None, 1, torch.device(kind)) for kind in ("cpu", "cuda")] == [2.0, 5.0]


def test_the_time_of_a_step_is_the_least_on_a_clock_and_its_slope_a_power() -> None:
    ticks = iter([0.0, 9.0, 10.0, 13.0, 20.0, 22.0, 30.0, 35.0])  # 9 to warm up, then 3, 2 and 5
    assert _least_time(lambda: None, 3, torch.device("cpu"), clock=lambda: next(ticks)) == 2.0
    assert _log_slope({n: 3e-4 * n**1.7 for n in (64, 128, 512)}) == pytest.approx(1.7)
    assert _log_slope({64: 1.0}) is None
    assert _log_slope({64: 1.0, 128: 0.0}) is None
    with pytest.raises(UserError, match="two or more lengths"):
        StepTime(seq_lens=(64,))


def test_what_a_recurrence_keeps_for_its_gradient_is_linear_in_the_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step_time, "_least_time", lambda function, *_: function() or 1.0)  # no clock
    it = subject("lstm", "tokens")
    found = StepTime(seq_lens=(64, 128)).measure(it)
    assert found.scalars["memory_slope"] == pytest.approx(1, abs=0.05)
    assert found.scalars["train_slope"] == pytest.approx(0)
    assert {p.index for p in found.profiles if p.quantity == "memory_bytes"} == {64, 128}


@pytest.mark.slow
def test_a_run_with_a_probe_has_the_same_losses_and_its_columns(isoflop: Isoflop, tmp_path: Path) -> None:
    tiny = ["family=mlp", "data.seq_len=16", "data.eval_size=256", "recipe.batch=4", "budget.D=[2e3,4e3]"]
    isoflop("train", *tiny, f"out={tmp_path / 'bare'}")
    done = isoflop("train", *tiny, f"out={tmp_path / 'probed'}", "probe=[positions]")
    assert done.returncode == 0, done.stderr
    (bare,), (probed,) = ([f for f in (tmp_path / name).iterdir() if f.is_dir()] for name in ("bare", "probed"))
    assert bare.name == probed.name  # a probe is no part of a run's identity
    for one, other in zip(record.read(bare), record.read(probed), strict=True):
        assert (one["L"], one["L_train"]) == (other["L"], other["L_train"])
        assert isinstance(other["probe.positions.slope"], float)
    points = RunFolder(probed).read_probes()
    assert {point[:4] for point in points} == {(D, "positions", "loss", "position") for D in (2048, 4032)}
    again = isoflop("train", *tiny, f"out={tmp_path / 'bare'}", "probe=[positions]")
    assert "done already" not in again.stderr
    assert "probe.positions.slope" in record.read(bare)[0]
    assert "done already" in isoflop("train", *tiny, f"out={tmp_path / 'bare'}").stderr


@pytest.mark.parametrize("name", ["lstm", "gru", "tanh_rnn"])
def test_a_probe_may_differentiate_a_recurrence_on_any_device(name: str) -> None:
    """cuDNN has a backward pass of a recurrence in training mode alone; afterwards the modes are as they were."""
    model = family(name, width=8, depth=1).build(TASKS["tokens"])
    model.eval()
    recurrences = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    with _untouched(model):
        assert recurrences
        assert all(module.training for module in recurrences)
        assert not model.training
    assert not any(module.training for module in model.modules())
