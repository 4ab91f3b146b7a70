"""What a run imports, imported once by the server whose forks the runs are (sweeps/workers.py).

Every family and dataset is found in its folder, so that a newcomer needs no line here.
"""

import pkgutil
from importlib import import_module

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning import loggers

from isoflop.scaling import app, assemble, data, estimate, families, hardware
from isoflop.scaling.config import provenance
from isoflop.scaling.loop import checkpoints, curve, module, progress, wandb

__all__ = [
    "app", "assemble", "checkpoints", "curve", "estimate", "hardware", "loggers", "module", "np", "pl", "progress",
    "torch", "wandb",
]  # fmt: skip

# that of what is imported here: a run says whether it was frozen for it
provenance.commit(), provenance.tree()

for package in (data, families):
    for submodule in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        import_module(submodule.name)
