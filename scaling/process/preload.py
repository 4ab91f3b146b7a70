"""What a run imports, imported once by the server whose forks the runs are (sweeps/workers.py).

Every family and dataset is found in its folder. The collector of garbage never looks at what was imported.
"""

import gc
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from isoflop.scaling.process import signals

LIBRARIES = ("numpy", "torch", "pytorch_lightning", "pytorch_lightning.loggers")
OURS = (
    "app", "assemble", "estimate", "hardware", "data", "families",
    "loop.checkpoints", "loop.module", "loop.mirror", "loop.progress", "loop.wandb",
)  # fmt: skip


@contextmanager
def _without_signals() -> Iterator[None]:
    """Return an empty module for scipy.signal, a fifth of all imports, of which torchmetrics only needs a name."""
    empty = ModuleType("scipy.signal")
    empty.hamming = None  # type: ignore[attr-defined]
    loaded = sys.modules.setdefault("scipy.signal", empty)
    try:
        yield
    finally:
        if loaded is empty:
            del sys.modules["scipy.signal"]  # whoever needs it gets the real one


signals.end_with_parent()
gc.disable()
with _without_signals():
    for name in (*LIBRARIES, *(f"isoflop.scaling.{ours}" for ours in OURS)):
        import_module(name)
for package in map(import_module, ("isoflop.scaling.data", "isoflop.scaling.families")):
    for submodule in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        import_module(submodule.name)
# that of what was imported here: a run says whether it was frozen for it
provenance = import_module("isoflop.scaling.config.provenance")
provenance.commit(), provenance.tree()
signals.outlive()
gc.freeze()
gc.enable()
