"""The GPUs of a machine, by a fake nvidia-smi and a fake /dev."""

import time
from pathlib import Path

import pytest

from isoflop.scaling import hardware
from isoflop.sweeps import workers

SMI = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd)
"""


@pytest.fixture(autouse=True)
def _container_that_was_given_the_fourth_card(monkeypatch: pytest.MonkeyPatch) -> None:
    hardware._listed.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter([folder / "nvidia3"]))


def put_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, prints: str) -> None:
    """Put an nvidia-smi in front that prints this."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{prints}END\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_gpus_and_slices_of_gpus_go_by_their_uuids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_smi(tmp_path, monkeypatch, SMI)
    assert hardware.gpus() == ["GPU-aaaa", "MIG-cccc", "MIG-dddd"]


def test_without_nvidia_smi_gpus_go_by_their_ordinals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hardware.gpus() == ["0"]


def test_what_the_user_made_visible_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,1,-1,2")
    assert hardware.gpus() == ["GPU-aaaa", "1"]


def test_calls_take_turns_on_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    busy: set[str] = set()

    def call(function: str, number: int, gpu: str) -> tuple[int, str]:
        assert gpu not in busy
        busy.add(gpu)
        time.sleep(0.01)
        busy.remove(gpu)
        return number, gpu

    monkeypatch.setattr(workers, "call", call)
    monkeypatch.setattr(workers, "warm", lambda: None)
    monkeypatch.setattr(workers, "cores", lambda: 16)
    results = list(workers.calls("a:b", [(number,) for number in range(8)], ["GPU-aaaa", "GPU-bbbb"]))
    assert [number for number, _ in results] == list(range(8))
    assert {gpu for _, gpu in results} == {"GPU-aaaa", "GPU-bbbb"}


def test_a_worker_sees_the_gpu_that_it_was_given() -> None:
    assert workers.call("os:getenv", "CUDA_VISIBLE_DEVICES", gpu="GPU-aaaa") == "GPU-aaaa"
