"""What a run says of the device that it was made on, and sets there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from isoflop.errors import UserError
from isoflop.scaling import estimate, limits
from isoflop.scaling.config.composed import register_resolvers
from isoflop.scaling.config.sections import Trainer
from isoflop.scaling.hardware import choose_kernels, peak, refuse_missing_gpu
from isoflop.scaling.loop.ranks import placement
from isoflop.scaling.run import _is_out_of_memory, _release_memory

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
