"""How fast devices could be: dense peaks by name, with their source (standard library only).

peak("NVIDIA H100 80GB HBM3", "bf16")       # 989e12 FLOP/s
"""

import re

# dense bf16 peaks [FLOP/s], by a word of the device's name, the more particular first. NVIDIA data sheets H200 (2024),
# H100 (2023: SXM, PCIe), A100 (2021), L40S (2023), L4 (2023), V100 fp16 (2020); sparse figures halved
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
}


def peak(name: str, precision: str) -> float | None:
    """Dense peak of a device [FLOP/s]; None where it is not in the table or the precision is not bf16."""
    if precision != "bf16":
        return None
    return next((value for word, value in PEAKS.items() if re.search(rf"\b{word}\b", name)), None)
