"""The time of a step on a GPU that is not here, by a law of launches, FLOPs and traffic.

step_s("H100", by_graph=True, compiles=False, flops=1e12, values=2e6)
"""

from typing import NamedTuple

from isoflop.scaling.hardware import BANDWIDTHS, PEAKS, of_device


class GpuStep(NamedTuple):
    """s = launches_s + FLOPs / (products x peak) + traffic x values / bandwidth."""

    launches_s: float
    """Time of a step of an empty model [s]."""
    products: float
    """Share of the dense bf16 peak that the products reach."""
    traffic: float
    """Bytes moved for each value of the residual stream: tokens x layers x width."""


# fitted to five Transformers, 64x4 to 1024x12, bf16, 32 x 256 tokens, one H100 (SXM), torch 2.11: all within 4 %
COMPILED, PLAIN = GpuStep(0.805e-3, 0.61, 201.0), GpuStep(1.91e-3, 0.66, 355.0)
# bandwidth at which they were fitted, a copy's, over that of the data sheet
COPY = 3.0e12 / BANDWIDTHS["H100"]
# least time of a step whose kernels are launched one by one [s]: the smallest of those Transformers, without a graph,
# took 7.3 ms a step in a Lightning loop and 7.5 ms in a bare one
LAUNCHES_S = 0.007


def step_s(
    device: str, by_graph: bool, compiles: bool, flops: float, values: float, mfu: float | None = None
) -> float | None:
    """Return the time of a step [s]; None for a device that the tables of hardware.py do not have.

    flops: of the step on one device. values: tokens x layers x width of it. mfu: the share of the peak that its
    products reach, instead of the H100's.
    """
    top, bandwidth = of_device(PEAKS, device), of_device(BANDWIDTHS, device)
    if top is None or bandwidth is None:
        return None
    law = COMPILED if compiles else PLAIN
    seconds = law.launches_s + flops / ((mfu or law.products) * top) + law.traffic * values / (COPY * bandwidth)
    return seconds if by_graph else max(seconds, LAUNCHES_S)
