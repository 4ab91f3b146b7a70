"""Counted FLOPs and parameters against closed forms written down independently, and what using a model costs."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from families import CASES, FAMILIES, TASKS, TOKENS, family
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.families import inference
from isoflop.scaling import cost as counting
from isoflop.scaling.cost import count, example, forward_flops
from isoflop.scaling.families.base import Family
from isoflop.scaling.families.cnn import Cnn
from isoflop.scaling.families.mlp import Mlp
from isoflop.scaling.families.recurrent import Recurrent
from isoflop.scaling.families.ssm import Hybrid, Ssm, _fft_flops
from isoflop.scaling.families.transformer import Moe, Transformer
from isoflop.scaling.task import Task

ROOT = Path(__file__).parents[2]
LONG = replace(TOKENS, seq_len=256, targets=256)
IMAGES = TASKS["images"]
# several tests ask it of the same family
counted_flops = cache(counting.counted_flops)
GATES = {"lstm": 8, "gru": 6, "tanh": 2, "mingru": 3}

# forward FLOPs of one position (multiply-add = 2), but for the readout: what each kind of layer multiplies


def transformer(f: Transformer, T: int) -> float:
    w, kv = f.width, f.width // f.heads_per_kv
    hidden = 3 * f.hidden if f.feed_forward == "swiglu" else 2 * f.hidden
    return f.depth * (2 * w * (2 * w + 2 * kv + hidden) + 4 * T * w)


def moe(f: Moe, T: int) -> float:
    w, places = f.width, -(-f.capacity * f.top_k * T // f.experts) if f.capacity else T
    hidden = f.expansion * w // f.top_k
    routed = places * f.experts / T  # places worked on for each position
    return f.depth * (2 * w * (4 * w + f.experts) + 4 * T * w + routed * 4 * w * hidden)


def selective(f: Ssm, T: int) -> float:
    w, inner, q = f.width, f.expansion * f.width, min(f.chunk, T)
    maps = 2 * w * (3 * inner + 2 * f.state + inner // f.head_dim) + 2 * f.kernel * (inner + 2 * f.state)
    scan = 2 * q * f.state + 2 * q * inner + 4 * f.state * inner  # arXiv:2405.21060, sec. 6.3
    return f.depth * (maps + scan)


def diagonal(f: Ssm, T: int) -> float:
    return f.depth * (4 * f.width**2 + _fft_flops(f.width, T) / T)


def hybrid(f: Hybrid, T: int) -> float:
    attending = sum(f.attends(i) for i in range(f.depth))
    mixers = attending * (8 * f.width**2 + 4 * T * f.width) + (f.depth - attending) * selective(f.ssm, T) / f.depth
    return mixers + f.depth * 4 * f.expansion * f.width**2


def mlp(f: Mlp, T: int) -> float:
    return 2 * f.window * f.embed * f.width + f.depth * 4 * f.expansion * f.width**2


# each with families that have it, made when they are asked for
FORMS: dict[str, tuple[Callable[..., float], Callable[[], list[Family]]]] = {
    "transformer": (
        transformer,
        lambda: [family("transformer"), family("transformer", feed_forward="swiglu", depth=3)],
    ),
    "grouped": (
        transformer,
        lambda: [family("transformer", width=64, heads_per_kv=2, positions="alibi", qk_norm=True)],
    ),
    "shared": (transformer, lambda: [family("transformer", shared=True, depth=5)]),
    "moe": (moe, lambda: [family("moe"), family("moe", experts=4, top_k=1), family("moe", capacity=None)]),
    "selective": (selective, lambda: [family("ssm", width=64), family("ssm", chunk=16, state=8)]),
    "diagonal": (diagonal, lambda: [family("s4d"), family("s4d", width=64, depth=3)]),
    "hybrid": (hybrid, lambda: [family("hybrid"), family("hybrid", depth=5, attention_every=3)]),
    "mlp": (mlp, lambda: [family("mlp"), family("mlp", residual=False)]),
    "cnn": (
        lambda f, T: f.depth * 2 * (2 * f.kernel + 1) * f.width**2,
        lambda: [family("cnn"), family("resnet", depth=7)],
    ),
    "recurrent": (
        lambda f, T: f.depth * 2 * GATES[f.cell] * f.width**2,
        lambda: [family(name) for name in ("lstm", "gru", "tanh_rnn", "mingru")],
    ),
}


@pytest.mark.sample(5)
@pytest.mark.parametrize("task", [TOKENS, LONG], ids=["32", "256"])
@pytest.mark.parametrize("name", FORMS)
def test_flops_are_those_of_the_closed_form(name: str, task: Task) -> None:
    form, families = FORMS[name]
    for made in families():
        expected = 3 * (form(made, task.seq_len) + 2 * made.width * 256)
        assert count(made, task).flops_per_target == pytest.approx(expected, rel=0.02), made


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_a_closed_form_or_says_that_it_has_none(name: str) -> None:
    if type(family(name)) not in {type(made) for _, families in FORMS.values() for made in families()}:
        pytest.skip(f"no closed form of the FLOPs of {name} is written down; they are counted alone")


def test_the_transformers_flops_are_kaplans_count() -> None:
    made = family("transformer", width=64, depth=3)
    cost, T = count(made, TOKENS), TOKENS.seq_len
    multiplied = cost.N - (2 * 3 + 1) * 64  # the norms' gains do not multiply in matrix products
    # forward per token: two per parameter, 4 T width per layer for full attention
    assert cost.flops_per_target == pytest.approx(3 * (2 * multiplied + 4 * 3 * T * 64), rel=1e-9)
    assert cost.attention_per_target == pytest.approx(3 * 4 * 3 * T * 64, rel=1e-9)


def test_a_resnets_flops_are_those_of_its_convolutions() -> None:
    for made in (family("resnet"), family("cnn", depth=3, width=16)):
        assert isinstance(made, Cnn)
        pixels = (IMAGES.seq_len // made.patch) ** 2
        layers = made.depth * 2 * made.kernel**2 * made.width**2
        forward = 2 * pixels * (made.patch**2 * made.width + layers) + 2 * made.width * 10
        assert count(made, IMAGES).flops_per_target == pytest.approx(3 * forward, rel=1e-9)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", FAMILIES)
def test_flops_per_target_do_not_depend_on_where_they_were_counted(name: str) -> None:
    made = family(name)
    at_length = forward_flops(made, TOKENS) / TOKENS.targets * 3
    assert count(made, TOKENS).flops_per_target == pytest.approx(at_length, rel=1e-9)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", FAMILIES)
def test_training_is_three_forwards_where_the_counter_is_right(name: str) -> None:
    made = family(name)
    with torch.device("meta"):
        model = made.build(TOKENS)
    if any(isinstance(m, nn.Conv1d) and m.groups > 1 for m in model.modules()) or made.unseen_flops(TOKENS):
        pytest.skip("the counter's backward is wrong by (1 + groups) / 2 for grouped convolutions, and blind to FFTs")
    with FlopCounterMode(display=False) as counter:
        model(example(TOKENS, 1, "meta")).sum().backward()
    assert counter.get_total_flops() == pytest.approx(3 * counted_flops(made, TOKENS), rel=0.02)


@pytest.mark.parametrize(("name", "slope"), [("ssm", 4.0), ("mingru", 4.0), ("cnn", 4.0), ("lstm", 4.0)])
def test_what_is_linear_in_seq_len_is(name: str, slope: float) -> None:
    short, long = (count(family(name), replace(TOKENS, seq_len=T, targets=T)) for T in (256, 1024))
    assert long.flops_per_target * 1024 == pytest.approx(slope * short.flops_per_target * 256, rel=1e-9)
    assert long.attention_per_target == 0


def test_the_diagonal_ssm_grows_by_the_ffts_logarithm_alone() -> None:
    short, long = (forward_flops(family("s4d"), replace(TOKENS, seq_len=T)) for T in (256, 4096))
    assert 16 < long / short < 16 * 13 / 9


def test_shared_layers_are_stored_once_and_used_each_time() -> None:
    own, shared = (count(family("transformer", depth=4, shared=s), TOKENS) for s in (False, True))
    one = count(family("transformer", depth=1), TOKENS)
    assert shared.flops_per_target == own.flops_per_target
    assert shared.n_total == one.n_total


def test_a_moe_has_the_active_parameters_of_the_transformer() -> None:
    dense, sparse = count(family("transformer"), TOKENS), count(family("moe"), TOKENS)
    routers = 2 * 32 * 8
    assert sparse.n_active == dense.n_active + routers
    assert dense.n_active == dense.n_total
    # 8 experts of half the dense hidden width each
    assert sparse.n_total == dense.n_total + routers + 2 * (8 / 2 - 1) * 2 * 32 * 128


def test_learned_positions_are_no_parameters_that_multiply() -> None:
    told, learned = (count(family("transformer", positions=p), TOKENS) for p in ("sinusoidal", "learned"))
    assert learned.N == told.N
    assert learned.n_embed == told.n_embed + TOKENS.seq_len * 32


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_kept_to_go_on_is_what_the_architecture_says(name: str) -> None:
    made = family(name, depth=2)
    short, long = made.kept(256), made.kept(512)
    if name in ("transformer", "vit", "moe"):
        assert short == 2 * 2 * 32 * 256  # keys and values of every layer and position
        assert long == 2 * short
    elif name == "hybrid":
        assert long - short == 2 * 32 * 256  # one layer of two attends
    elif type(made) in (Cnn, Mlp, Recurrent, Ssm):
        assert short == long > 0
    else:
        assert 0 <= short <= long


def test_a_convolution_keeps_no_more_than_it_was_shown() -> None:
    made = family("cnn", depth=6, kernel=3, width=16)  # dilated 1 to 32 times
    assert made.kept(256) == 16 * (2 + 4 + 8 + 16 + 32 + 64)
    assert made.kept(10) == 16 * (2 + 4 + 8 + 10 + 10 + 10)


def test_inference_is_counted_at_the_sequence_length() -> None:
    use = inference(family("transformer", depth=3), LONG)
    assert use.flops_per_position == pytest.approx(count(family("transformer", depth=3), LONG).flops_per_target / 3)
    assert use.parameter_bytes == 2 * count(family("transformer", depth=3), LONG).n_total
    assert use.kept_bytes == 2 * 3 * 2 * 32 * 256
    grouped = inference(family("transformer", width=64, heads_per_kv=4), LONG)
    assert grouped.kept_bytes == inference(family("transformer", width=64), LONG).kept_bytes / 4
    assert inference(family("vit"), IMAGES).kept_bytes == 0


@pytest.mark.sample(6)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_count_is_linear_in_the_batch(name: str, kind: str) -> None:
    task, made = TASKS[kind], family(name)
    with torch.device("meta"):
        model = made.build(task)
    totals = []
    for batch in (3, 5):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(example(task, batch, "meta"))
        totals.append(counter.get_total_flops())
    assert totals[1] - totals[0] == 2 * counted_flops(made, task)
    if not made.unseen_flops(task):  # else a batch shares the kernel of the FFT's convolution
        assert totals[0] == 3 * counted_flops(made, task)


@pytest.mark.nightly
def test_the_tables_of_the_docs_are_current() -> None:
    spec = importlib.util.spec_from_file_location("benchmark_families", ROOT / "benchmarks/families.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    page = (ROOT / "docs/reference/families.md").read_text()
    tables = page.split(benchmark.END)[0].split(benchmark.BEGIN)[1]
    prose = (ROOT / "docs/families.md").read_text()
    rows = [line for line in tables.splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    for line in rows:
        name, width, depth = (cell.strip(" `") for cell in line.split("|")[1:4])
        made = family(name, width=int(width), depth=int(depth))
        assert benchmark.row(name, made) == line, "run: python benchmarks/families.py table"
        assert f"`{name}`" in prose
