"""The verbs of the command line, and the module that each is in (standard library only)."""

# verb -> (module whose main(arguments) returns an exit code, what the verb does)
VERBS = {
    "demo": ("isoflop.sweeps.verbs", "a small real study, end to end, on the embedded data, with a report"),
    "study": (
        "isoflop.sweeps.verbs",
        "answer a question by name: train, collect, judge, report; lists them without one",
    ),
    "train": ("isoflop.scaling.app", "train one run, or with -m a sweep; rerun the command to resume it"),
    "prepare": ("isoflop.scaling.verbs", "tokenise a corpus once, into shards that runs map into memory"),
    "plan": ("isoflop.sweeps.verbs", "what a sweep would run, take and cost, and what its laws could resolve"),
    "status": ("isoflop.sweeps.verbs", "how the runs of a folder stand: running, failed, time left, lowest losses"),
    "retry": ("isoflop.sweeps.verbs", "make the runs of a folder that have no result, as they were frozen"),
    "cancel": ("isoflop.sweeps.verbs", "stop the runs of a folder, wherever they run"),
    "collect": ("isoflop.sweeps.verbs", "join a folder's records into a runs.csv"),
    "import-wandb": ("isoflop.sweeps.verbs", "make a table of the runs that Weights & Biases has"),
    "dashboard": ("isoflop.sweeps.verbs", "a W&B workspace and report of mirrored runs, made by code"),
    "check": ("isoflop.analysis.verbs", "examine a table of runs: odd rows, units, runs recognised, layout"),
    "fit": ("isoflop.analysis.verbs", "fit a law to a CSV of losses, with intervals"),
    "predict": ("isoflop.analysis.verbs", "what a law says at another size, with an interval"),
    "compare": (
        "isoflop.analysis.verbs",
        "which law predicts what it has not seen, beside naive lines and seed noise",
    ),
    "frontier": ("isoflop.analysis.verbs", "compute-optimal size and data, by three approaches side by side"),
    "forecast": ("isoflop.analysis.verbs", "write predictions down before the runs are made"),
    "judge": ("isoflop.analysis.verbs", "test claims and forecasts written down beforehand"),
    "report": ("isoflop.analysis.verbs", "one page: the finding, verdicts, figures, laws, every run"),
    "plot": ("isoflop.analysis.verbs", "one figure into a file: SVG, PNG, PDF, Vega-Lite or its data"),
}
