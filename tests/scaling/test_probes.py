"""Probes: each finds an answer that is known, means nothing where it should not be asked, and changes nothing."""

import math
from pathlib import Path

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
from isoflop.scaling.config.frozen import register_resolvers
from isoflop.scaling.data.base import Table
from isoflop.scaling.families.base import Model
from isoflop.scaling.probes import base
from isoflop.scaling.probes.base import Measurement, Subject, measure
from isoflop.scaling.probes.critical_batch import CriticalBatch
from isoflop.scaling.probes.equivariance import Equivariance
from isoflop.scaling.probes.gradients import Gradients
from isoflop.scaling.probes.positions import Positions
from isoflop.scaling.probes.precision import Precision, rounded
from isoflop.scaling.probes.recurrence_of_positions import RecurrenceOfPositions
from isoflop.scaling.probes.spectral_rank import shares
from isoflop.scaling.task import Task

YAMLS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/probe").glob("*.yaml"))


def probe(name: str, **knobs: object) -> base.Probe:
    """A probe as its yaml has it, but for the knobs given."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", [f"probe=[{name}]"], return_hydra_config=True)
    return instantiate(OmegaConf.to_container(cfg.probe[name]) | knobs)


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
    return Subject(model, task, Table(x, y, x, y), "fp32", seed=0)


def test_every_probe_is_a_yaml_that_builds() -> None:
    assert YAMLS
    for name in YAMLS:
        assert set(probe(name).kinds) <= set(TASKS)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_probe_changes_nothing(name: str, kind: str) -> None:
    probes = {yaml: built for yaml in YAMLS if kind in (built := probe(yaml)).kinds}
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
        base.check("positions", Positions(), "spectral", TASKS["vectors"])


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
    return Subject(Stated(losses), task, Table(x, x, x, x), "fp32", seed=0)  # type: ignore[arg-type]


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
    found = Gradients(factor=30, examples=64, directions=64).measure(Subject(model, task, Table(x, x, x, x), "fp32", 0))
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
        it = Subject(model, task, Table(x, x, x, x), "fp32", seed=0)
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
                p.copy_(rounded(p, 4))
    assert Precision(bits=(4,)).measure(it).scalars["delta_4"] == pytest.approx(0, abs=1e-6)
    assert abs(Precision(bits=(2,)).measure(it).scalars["delta_2"] or 0) > 1e-3
    assert rounded(torch.tensor([1.0, 0.4, -0.2]), 2).tolist() == [1.0, 0.0, 0.0]


def test_the_noise_scale_of_a_constant_that_is_fitted_to_noise() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor(0.5))

        def forward(self, x: Tensor) -> Tensor:
            return self.value.expand(len(x), 1)

    # the gradient of one example is 2 (c - y), so that B = var(y) / (c - mean(y))²
    y = torch.randn(4096, 1, generator=torch.Generator().manual_seed(1))
    task = Task("vectors", 1, 1, 1, targets=1, loss="mse")
    it = Subject(Constant(), task, Table(y, y, y, y), "fp32", seed=0)  # type: ignore[arg-type]
    scale = CriticalBatch(small=1, batches=4096).measure(it).scalars["noise_scale"]
    assert scale == pytest.approx(float(y.var() / (0.5 - y.mean()) ** 2), rel=0.1)


def test_the_rank_of_an_identity_is_whole_and_of_an_outer_product_one() -> None:
    assert shares(torch.eye(8)) == pytest.approx((1, 1))
    assert shares(torch.ones(8, 8)) == pytest.approx((1 / 8, 1 / 8))


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
