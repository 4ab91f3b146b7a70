"""The sentence of each argument, written once, for --help of the verbs and for the docstrings of the functions.

@describe("runs", "law", level="coverage of the bands")
def predict(...): ...
"""

import textwrap
from collections.abc import Callable
from typing import TypeVar

# name -> sentence; lists and mappings are text on the command line: E=1.69, or family,data
ARGUMENTS = {
    "runs": "A table with a row for each run, or for each mark of a run",
    "law": "A law, with its columns in brackets: 'power_offset(D)', 'chinchilla(n_total,D)'; to predict, also 'best'",
    "by": "Columns to group by, each group by itself: family,data",
    "share": "Parameters with one value in all groups: E, or E,alpha; of optimisers alpha,beta (arXiv:2602.07712)",
    "loss": "huber, l1 or l2 of log residuals; raw_huber, raw_l1, raw_l2 of the loss itself",
    "delta": "Huber threshold: where the loss turns from square to linear",
    "interval": "auto, jackknife, bootstrap or none",
    "level": "Coverage of the intervals",
    "resamples": "Resamples of the bootstrap",
    "run": "Column that identifies a run: rows with equal values are one run; default run_id, else every row",
    "then": "A second law, from the loss to a score: 'sigmoid(L)'; a --pin goes to it if it has that name",
    "pin": "Parameters held at a value: E=1.69",
    "prior": "Mean and standard error of a parameter known beforehand: E=1.7:0.1",
    "seed": "Seed of starts and resamples, 0 or more",
    "weights": "none; seed: weigh rows by the noise of seeds, as it changes with N and D; auto: where they tell it; "
    "noise: by that column, sd of ln L",
    "columns": "Names in a foreign file, a factor before them: N=params,D=1e9*tokens,L=loss",
    "where": "Rows to keep: \"family = 'mlp' and C<1e20\", a name with spaces in backticks; never evaluated as code",
    "at": "Where: C=1e21, or N=1e9,D=2e10; with --by also L=2.1, the loss at which to compare compute",
    "point": "Where to take the local quantities: N=1e9,D=2e10, or C=1e20; default the geometric centre of the runs",
    "places": "Points, all combinations of the values: C=1e21,1e22, or N=1e9,D=2e10,4e10; may be repeated",
    "band": "Coverage of the bands for a new run",
    "laws": "Laws, comma-separated, columns in brackets: 'power,bnsl(D),best'; default those that suit the columns",
    "rivals": "Laws whose predictions stand beside those of the law, and are scored with it: kaplan,best",
    "axis": "Column along which the larger runs are held out",
    "holdout": 'Rows to hold out instead, a condition as in --where: "C>=1e20"',
    "reach": "Rank the laws by the cuts that leave at most this factor of the axis to the largest run",
    "folds": "Maximum number of cuts along the axis",
    "target": "Budgets to give N, D and L for: 1e21, or 1e20,1e21 [FLOPs]",
    "tune": "Knobs that were searched; the best value at each N and D is kept: lr, or lr,batch",
    "inference_tokens": "Tokens to be served in all, counted as compute: 1e12",
    "price": "Price of a device-hour and the FLOP/s that a device reaches: 2.5/h@4e14",
    "full": "Also what takes long: scorecard, rival laws, power of open claims; SVG and PNG",
}

F = TypeVar("F", bound=Callable[..., object])


def describe(*names: str, **own: str) -> Callable[[F], F]:
    """Add to a function's docstring a line for each argument: `names` with the sentence above, `own` with theirs."""

    def add(function: F) -> F:
        sentences = {name: ARGUMENTS[name] for name in names} | own
        width = max(len(name) for name in sentences)
        lines = [f"    {name:<{width}}  {sentence}" for name, sentence in sentences.items()]
        function.__doc__ = f"{(function.__doc__ or '').rstrip()}\n\n" + textwrap.indent("\n".join(lines), "    ") + "\n"
        return function

    return add
