"""What a run says of the device that it was made on, and sets there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from isoflop.errors import UserError
from isoflop.scaling import estimate, limits
from isoflop.scaling.assemble import assemble, build_family
from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.config.sections import Trainer
from isoflop.scaling.cost import example
from isoflop.scaling.data.corpus.store import Side
from isoflop.scaling.data.windows import Windows
from isoflop.scaling.evaluate import arithmetic
from isoflop.scaling.hardware import RUNS_PER_GPU, choose_kernels, peak, refuse_missing_gpu
from isoflop.scaling.loop.ranks import placement
from isoflop.scaling.run import _is_out_of_memory, _release_memory
from isoflop.sweeps.plan.plan import composed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def _left_as_before() -> Iterator[None]:
    products, cells = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, cells
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_left_as_before")
def test_precision_means_one_thing_for_products_convolutions_and_cells() -> None:
    for precision, coarse in (("fp32", False), ("bf16", True)):
        choose_kernels(precision, deterministic=False)
        assert torch.backends.cuda.matmul.allow_tf32 is coarse
        assert torch.backends.cudnn.allow_tf32 is coarse


@pytest.mark.usefixtures("_left_as_before")
def test_deterministic_kernels_are_asked_for_and_given_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    choose_kernels("fp32", deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    choose_kernels("fp32", deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_run_that_was_given_a_gpu_and_sees_none_fails_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa")
    with pytest.raises(RuntimeError, match="CUDA_VISIBLE_DEVICES=GPU-aaaa, but torch sees no GPU"):
        refuse_missing_gpu("auto")
    refuse_missing_gpu("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    refuse_missing_gpu("auto")


def test_the_memory_of_a_gpu_is_asked_without_starting_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\necho "$2" >"$0.asked"\necho 81559\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,GPU-bbbb")
    monkeypatch.setattr("isoflop.scaling.limits.has_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", None)  # which starts CUDA
    assert estimate.available(Trainer()) == 81559 * 2**20
    assert (tmp_path / "nvidia-smi.asked").read_text().strip() == "GPU-aaaa"
    assert estimate.base(Trainer()) == 0 < estimate.base(Trainer(accelerator="cpu"))


def test_auto_never_means_the_gpu_of_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert placement(Trainer())["accelerator"] == "cpu"
    assert placement(Trainer(accelerator="mps"))["accelerator"] == "mps"


@pytest.mark.parametrize("words", ["CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED"])
def test_a_library_without_room_for_its_handle_is_out_of_memory(words: str) -> None:
    assert _is_out_of_memory(RuntimeError(f"cuDNN error: {words}"))


def test_releasing_memory_starts_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", None)
    _release_memory()


def test_a_slice_of_a_gpu_has_not_the_peak_of_the_whole() -> None:
    assert peak("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert peak("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16") is None


def test_a_peak_is_that_of_the_precision_and_of_the_whole_name() -> None:
    assert peak("NVIDIA H100 80GB HBM3", "fp32") == 67e12
    assert peak("NVIDIA GH200 480GB", "bf16") == peak("NVIDIA H200", "bf16") == 989e12
    assert peak("NVIDIA B200", "bf16") == 2.25e15
    assert peak("NVIDIA B200", "fp32") is None
    assert peak("AMD Instinct MI300X", "bf16") is None


def test_more_devices_than_cards_are_refused_before_any_rank_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isoflop.scaling.limits.has_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,GPU-bbbb")
    limits.refuse_place(Trainer(devices=2))
    with pytest.raises(UserError, match=r"trainer\.devices=3 is more than the 2 GPUs of this machine; give at most 2"):
        limits.refuse_place(Trainer(devices=3))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UserError, match="more than the GPU of this machine; give at most 1"):
        limits.refuse_place(Trainer(devices=2, accelerator="gpu"))


def test_ray_is_told_of_the_cards_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    register_resolvers()
    asked = OmegaConf.load(ROOT / "conf/hydra/launcher/ray_local.yaml").ray.remote
    for cards, trainer, expected in (("0,1", Trainer(), 1), ("0,1", Trainer(devices=2), 2), ("", Trainer(), 0),
                                     ("0", Trainer(accelerator="cpu"), 0)):  # fmt: skip
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", cards)
        root = OmegaConf.create({"trainer": vars(trainer), "remote": asked})
        assert root.remote.num_gpus == expected


def test_the_peak_of_memory_starts_anew_with_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    resets = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: resets.append(True))
    choose_kernels("fp32", deterministic=False)
    assert resets == [True]


# of each family, what an LSTM keeps in oneDNN, which torch does not say, left out
@pytest.mark.sample(2)
@pytest.mark.parametrize("family", ["transformer", "moe", "hybrid", "s4d", "mingru", "lstm", "gru", "tanh_rnn", "cnn"])
def test_activations_are_counted_in_the_precision_in_which_autocast_keeps_them(family: str) -> None:
    built = build_family(family, data="digits" if family == "cnn" else "text")
    model, task = built.model, built.task
    known = {id(p) for p in model.parameters()}
    wide, narrow = (estimate._activations(built.family, task, narrow) for narrow in (False, True))
    with arithmetic(torch.device("cpu"), "bf16"), torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        batches = [torch.zeros_like(example(task, n, "meta"), device="cpu") for n in (1, 2)]
        one, two = (estimate._saved(model, x, task, known) for x in batches)
    assert narrow == pytest.approx(two - one, rel=0.02)
    assert narrow < wide


def test_a_run_in_bf16_is_planned_with_narrow_activations_and_copies_of_weights_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def memory(precision: str, batch: int, **placed: Any) -> int:
        given = ["family=transformer", "budget.D=1e6", f"recipe.batch={batch}", f"recipe.precision={precision}"]
        trainer = Trainer(**placed)
        return estimate._memory(assemble(composed(given).configs[0]), trainer) - estimate.base(trainer)

    total = assemble(composed(["family=transformer", "budget.D=1e6"]).configs[0]).cost.n_total
    monkeypatch.setattr(estimate.limits, "has_gpu", lambda: True)
    each = {precision: memory(precision, 2) - memory(precision, 1) for precision in ("fp32", "bf16")}
    assert each["bf16"] < 0.8 * each["fp32"]
    states = {precision: memory(precision, 1) - each[precision] for precision in each}
    assert states["bf16"] - states["fp32"] == pytest.approx(2 * total, rel=0.01)
    assert memory("bf16", 2, accelerator="cpu") == memory("fp32", 2)  # where it took as much


def test_a_corpus_takes_its_share_of_a_gpu_on_which_several_runs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows(Side([np.zeros(401, np.uint8)]), 40, 10, {}, {})
    windows.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert windows.fits()
    monkeypatch.setenv(RUNS_PER_GPU, "2")
    assert not windows.fits()
