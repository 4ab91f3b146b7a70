"""Records become laws, verdicts and a report: no torch here, and every name is imported when it is asked for.

from analysis import fit, read_runs
print(fit(read_runs("runs.csv"), "chinchilla"))
"""

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


def __getattr__(name: str) -> Any:
    """Import the module behind a public name on first use, so that `import analysis.x` stays cheap."""
    from importlib import import_module

    if name in _FACE:
        return getattr(import_module(_FACE[name]), name)
    try:  # a submodule: importlib, so that a missing one is an AttributeError and not a recursion
        return import_module(f"analysis.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"analysis.{name}":
            raise
        raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has {', '.join(__all__)}") from None
