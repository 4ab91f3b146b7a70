"""A laboratory for scaling laws; every name of this face is imported when it is asked for (no torch here).

from isoflop import fit, read_runs
print(fit(read_runs("runs.csv"), "chinchilla"))
"""

from importlib import import_module
from typing import Any

# public name -> the module that holds it
_FACE = {
    "read_runs": "isoflop.analysis.tables.read",
    "select": "isoflop.analysis.tables.read",
    "fit": "isoflop.analysis.fitting.fit",
    "fit_groups": "isoflop.analysis.fitting.fit",
    "Fit": "isoflop.analysis.fitting.result",
    "load_fit": "isoflop.analysis.fitting.saved",
    "Estimate": "isoflop.analysis.intervals.estimate",
    "FitError": "isoflop.errors",
    "LAWS": "isoflop.analysis.laws.catalogue",
    "get_law": "isoflop.analysis.laws.catalogue",
    "compare": "isoflop.analysis.testing.compare",
    "judge": "isoflop.analysis.claims.claim",
}

__all__ = sorted(_FACE)


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'isoflop' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return __all__
