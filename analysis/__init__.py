"""Records become laws, verdicts and a report: no torch here, and every name is imported when it is asked for.

from analysis import fit, read_runs
print(fit(read_runs("runs.csv"), "chinchilla"))
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# public name -> the module that holds it
_FACE = {
    "read_runs": "analysis.runs",
    "select": "analysis.runs",
    "fit": "analysis.fit",
    "fit_groups": "analysis.fit",
    "Fit": "analysis.result",
    "Estimate": "analysis.result",
    "FitError": "analysis.result",
    "LAWS": "analysis.laws",
    "get_law": "analysis.laws",
    "compare": "analysis.compare",
    "judge": "analysis.claims",
}

__all__ = sorted(_FACE)


class _Face(ModuleType):
    """A package whose functions keep their names although modules share them (`fit` is in fit.py)."""

    def __getattr__(self, name: str) -> Any:
        if name not in _FACE:
            raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has {', '.join(__all__)}")
        return getattr(import_module(_FACE[name]), name)

    def __setattr__(self, name: str, value: Any) -> None:
        # importing analysis.fit binds the module here; the function keeps the name, sys.modules has the module
        if not (name in _FACE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
