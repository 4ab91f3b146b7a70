"""What a run imports, imported once by the server whose forks the runs are (sweeps/processes.py)."""

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning import loggers

from scaling import assemble, circumstance, module, train, watch
from scaling.data import text
from scaling.families import mlp, recurrent, transformer

__all__ = [
    "assemble",
    "circumstance",
    "loggers",
    "mlp",
    "module",
    "np",
    "pl",
    "recurrent",
    "text",
    "torch",
    "train",
    "transformer",
    "watch",
]
