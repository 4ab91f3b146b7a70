"""What a run says of the device that it was made on, and sets there."""

from collections.abc import Iterator

import pytest
import torch

from isoflop.scaling.hardware import choose_kernels


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
