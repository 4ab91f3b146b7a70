"""What each argument means, written once: --help of the verbs and the docstrings of the functions take it from here.

@describe("runs", "law", level="coverage of the bands")
def predict(...): ...
"""

import textwrap
from collections.abc import Callable
from typing import TypeVar

# name -> its sentence; the command line gives what is a list or a mapping here as text: E=1.69, or family,data
ARGUMENTS = {
    "runs": "A table with a row for each run, or for each mark of a run",
    "law": "A law, its columns in brackets: 'power_offset(D)', 'chinchilla(n_total,D)'; to predict, also 'best'",
    "by": "Columns to group by, each group by itself: family,data",
    "share": "Parameters with one value in all groups: E, or E,alpha",
    "loss": "huber, l1 or l2 of log residuals; raw_huber, raw_l1, raw_l2 of the loss itself",
    "delta": "Where Huber's loss turns from square to linear",
    "interval": "auto, jackknife, bootstrap, mixed, profile or none",
    "level": "Coverage of the intervals",
    "resamples": "Resamples of the bootstrap",
    "run": "Column whose equal values are one run; default run_id, else every row",
    "pin": "Parameters held at a value: E=1.69",
    "prior": "Mean and standard error of a parameter that are known beforehand: E=1.7:0.1",
    "seed": "Seed of starts and resamples, 0 or more",
    "weights": "none; seed: rows weighed by the noise between seeds at their size; noise: by that column, sd of ln L",
    "columns": "Names in a foreign file: N=params,D=tokens,L=loss",
    "where": "Rows to keep: \"family = 'mlp' and C<1e20\", a name with spaces in backticks; never evaluated as code",
    "at": "Where: C=1e21, or N=1e9,D=2e10; with --by also L=2.1, a loss to compare compute at",
    "point": "Where the local quantities are taken: N=1e9,D=2e10, or C=1e20; default the geometric centre of the runs",
    "places": "Points, all combinations of the values: C=1e21,1e22, or N=1e9,D=2e10,4e10; may be given again",
    "band": "Coverage of the bands for a new run",
    "laws": "Laws, comma between, columns in brackets: 'power,bnsl(D),best'; default those that suit the columns",
    "axis": "The column along which the larger runs are held out",
    "holdout": 'Rows to hold out instead, a condition as in --where: "C>=1e20"',
    "folds": "Cuts along the axis at the most",
    "target": "Budgets to give N, D and L for: 1e21, or 1e20,1e21 [FLOPs]",
    "tune": "Knobs that were searched; the best value at each N and D is taken: lr, or lr,batch",
    "inference_tokens": "Tokens that will be served in all, which count as compute: 1e12",
}

F = TypeVar("F", bound=Callable[..., object])


def describe(*names: str, **own: str) -> Callable[[F], F]:
    """Add to a function's docstring a line for each argument: these by their sentence above, those by their own."""

    def add(function: F) -> F:
        sentences = {name: ARGUMENTS[name] for name in names} | own
        width = max(len(name) for name in sentences)
        lines = [f"    {name:<{width}}  {sentence}" for name, sentence in sentences.items()]
        function.__doc__ = f"{(function.__doc__ or '').rstrip()}\n\n" + textwrap.indent("\n".join(lines), "    ") + "\n"
        return function

    return add
