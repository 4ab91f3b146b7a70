"""What a run imports, imported once by the server whose forks the runs are (sweeps/workers.py).

Every family and dataset is found in its folder, so that a newcomer needs no line here.
"""

import pkgutil
from importlib import import_module

from isoflop.scaling.process import orphan

LIBRARIES = ("numpy", "torch", "pytorch_lightning", "pytorch_lightning.loggers")
OURS = (
    "app", "assemble", "estimate", "hardware", "data", "families",
    "loop.checkpoints", "loop.curve", "loop.module", "loop.mirror", "loop.progress", "loop.wandb",
)  # fmt: skip

orphan.end_with_parent()
for name in (*LIBRARIES, *(f"isoflop.scaling.{ours}" for ours in OURS)):
    import_module(name)
for package in map(import_module, ("isoflop.scaling.data", "isoflop.scaling.families")):
    for submodule in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        import_module(submodule.name)
# that of what was imported here: a run says whether it was frozen for it
provenance = import_module("isoflop.scaling.config.provenance")
provenance.commit(), provenance.tree()
orphan.outlive()
