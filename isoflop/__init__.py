"""A laboratory for scaling laws: from runs to laws, verdicts and forecasts, in a notebook or a script.

    import isoflop as iso

    runs = iso.read_runs("runs.csv")
    fit = iso.fit(runs, "chinchilla")
    fit.params["alpha"]
    iso.predict(fit, {"N": 1e9, "D": 2e10})

Tables
    read_runs     a table of runs from a file of ours or anybody's
    select        the rows that a text such as "family = 'mlp' and C < 1e20" names
Laws and fits
    fit           fit a law to runs, with intervals
    fit_groups    the same for each group of runs, with parameters shared where asked
    predict       what a fitted law says at another size, with an interval
    compare       laws by what they predict of larger runs that they have not seen
    frontier      compute-optimal size and data, by three approaches
    forecast      predictions at named points, to be written down before the runs are made
    LAWS          the catalogue of laws by name
    get_law       the law that a text names: "power_offset(D)"
    Fit           a fitted law
    load_fit      a fit that was saved
    Estimate      a number with its interval
Claims
    load_claims   claims from yaml files, by default ours
    judge         a verdict for every claim
    report        one page of verdicts, figures and laws
Models
    family        a family built by name, with its task and cost (imports torch)
Errors
    UserError     bad input; the message says what to do
    FitError      runs to which a law cannot be fitted

Every name is imported when it is first used, so that `import isoflop` costs nothing; only `family` imports torch.
"""

from importlib import import_module
from typing import Any

# name of the face -> module and name there
_FACE = {
    "Estimate": "isoflop.analysis.intervals.estimate:Estimate",
    "Fit": "isoflop.analysis.fitting.result:Fit",
    "FitError": "isoflop.errors:FitError",
    "LAWS": "isoflop.analysis.laws.declare:LAWS",
    "UserError": "isoflop.errors:UserError",
    "compare": "isoflop.analysis.holdout.compare:compare",
    "family": "isoflop.scaling.assemble:build_family",
    "fit": "isoflop.analysis.fitting.fit:fit",
    "fit_groups": "isoflop.analysis.fitting.fit:fit_groups",
    "forecast": "isoflop.analysis.holdout.forecast:forecast",
    "frontier": "isoflop.analysis.frontier.frontier:frontier",
    "get_law": "isoflop.analysis.laws.declare:get_law",
    "judge": "isoflop.analysis.claims.judge:judge",
    "load_claims": "isoflop.analysis.claims.claim:load_claims",
    "load_fit": "isoflop.analysis.fitting.result:load_fit",
    "predict": "isoflop.analysis.holdout.predict:predict",
    "read_runs": "isoflop.analysis.runs.read:read_runs",
    "report": "isoflop.analysis.report.report:write_report",
    "select": "isoflop.analysis.runs.runs:select",
}

__all__ = sorted(_FACE)


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'isoflop' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _FACE[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
