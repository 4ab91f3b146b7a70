"""What a run imports, imported once by the server whose forks the runs are (sweeps/workers.py).

Every family and dataset is found in its folder, so that a newcomer needs no line here.
"""

import pkgutil
from importlib import import_module

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning import loggers

from isoflop.scaling import app as train
from isoflop.scaling import assemble, data, families, provenance
from isoflop.scaling import estimate as outlook
from isoflop.scaling import hardware as circumstance
from isoflop.scaling.loop import module, watch

__all__ = ["assemble", "circumstance", "loggers", "module", "np", "outlook", "pl", "torch", "train", "watch"]

# that of what is imported here: a run says whether it was frozen for it
provenance.commit(), provenance.tree()

for package in (data, families):
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        import_module(found.name)
