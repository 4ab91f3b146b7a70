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
    "plan": (
        "isoflop.sweeps.verbs",
        "what a sweep would run, how long it takes, what it costs, and what its laws could resolve",
    ),
    "status": ("isoflop.sweeps.verbs", "status of the runs in a folder: running, failed, time left, lowest losses"),
    "retry": ("isoflop.sweeps.verbs", "re-run failed or missing runs of a folder with their original configs"),
    "cancel": ("isoflop.sweeps.verbs", "stop the runs of a folder, on whichever machine they run"),
    "collect": ("isoflop.sweeps.verbs", "join a folder's records into a runs.csv"),
    "import-wandb": ("isoflop.sweeps.verbs", "make a table of the runs that Weights & Biases has"),
    "dashboard": ("isoflop.sweeps.verbs", "save a W&B workspace and report of mirrored runs"),
    "check": ("isoflop.analysis.verbs", "examine a table of runs: odd rows, units, runs recognised, layout"),
    "fit": ("isoflop.analysis.verbs", "fit a law to a CSV of losses, with intervals"),
    "predict": ("isoflop.analysis.verbs", "predict a run that was not made, with a band"),
    "compare": (
        "isoflop.analysis.verbs",
        "rank laws by how well they predict held-out runs, beside naive guesses",
    ),
    "frontier": ("isoflop.analysis.verbs", "compute-optimal size and data, by three approaches side by side"),
    "forecast": ("isoflop.analysis.verbs", "write predictions down before the runs are made"),
    "judge": ("isoflop.analysis.verbs", "test claims and forecasts written down beforehand"),
    "report": ("isoflop.analysis.verbs", "one page: the finding, verdicts, figures, laws, every run"),
    "plot": ("isoflop.analysis.verbs", "one figure into a file: SVG, PNG, PDF, Vega-Lite or its data"),
}
