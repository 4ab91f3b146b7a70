"""What isoflop says of published tables, each by one command: writes docs/others.md.

    ISOFLOP_REFERENCE_DATA=... python benchmarks/published.py

The folder holds the tables under owner__repository, as their authors published them; the page names each source.
"""

import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curves import predicted

from isoflop.wording import number

PAGE = Path(__file__).parents[1] / "docs/others.md"
INTRO = """\
# What isoflop finds in published data

<!-- written by benchmarks/published.py; change that and write it again -->

Each section is one public table, what its authors made of it, the command, and what came out. The tables are not part
of this project: get them from the repositories named, under the licences there, and give the command the file.
"""


@dataclass(frozen=True)
class Section:
    """One table and what is asked of it."""

    title: str
    source: str
    """The repository and file."""
    published: str
    """What its authors say, with the paper."""
    commands: tuple[str, ...]
    """Verbs and options; {0}, {1} ... are the files."""
    files: tuple[str, ...]
    finds: Callable[..., str]
    """The finding, a paragraph, from the documents that the commands print."""

    def page(self, data: Path) -> str:
        """The section as it stands in the page."""
        names = [Path(file).name for file in self.files]
        shown = "\n".join("isoflop " + command.format(*names) for command in self.commands)
        documents = [
            _json(command.format(*(shlex.quote(str(data / f)) for f in self.files))) for command in self.commands
        ]
        text = f"{self.published}\n\n```\n{shown}\n```\n\n{self.finds(*documents)}"
        return f"## {self.title}\n\n{self.source}. {text}\n"


def _json(command: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "isoflop.cli", *shlex.split(command), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(f"isoflop {command}\n{done.stderr}")
    return json.loads(done.stdout)


def interval(estimate: Mapping[str, float | None], scale: float = 1.0) -> str:
    """A value with its interval; an end that is not there is open."""
    value, low, high = (None if estimate[k] is None else scale * estimate[k] for k in ("value", "low", "high"))  # type: ignore[operator]
    if low is None and high is None:
        return f"{number(value)} (no interval)"
    ends = ("any less" if low is None else number(low), "any more" if high is None else number(high))
    return f"{number(value)} ({ends[0]} to {ends[1]})"


def of_chinchilla(huber: Any, l1: Any, frontier: Any) -> str:
    """The digitised points of Hoffmann et al."""
    one, two = huber["fits"][0], l1["fits"][0]
    at = ", ".join(f"{k} {interval(one['params'][k])}" for k in ("E", "A", "alpha", "B", "beta"))
    low = ", ".join(f"{k} {number(two['params'][k]['value'])}" for k in ("E", "A", "alpha", "B", "beta"))
    split = one["derived"]["a"]
    return (
        f"The optimum of Huber's loss is {at}, objective {one['objective']:.9f}, reached by "
        f"{one['starts']['at_optimum']} of {one['starts']['tried']} starts. The printed row of the replication is "
        f"beside it (.0010186447): it is the fit of least absolute deviations, {low}, as its notebook lets the scale "
        "of Huber's loss shrink to nothing. "
        f"N_opt goes as C^{interval(split)}, so that size and data growing alike is not excluded. IsoFLOP profiles of "
        f"all 245 points, at the budgets where runs crowd, give C^{interval(frontier['approaches']['isoflop']['a'])}; "
        "the paper has .49 (.462 to .534)."
    )


def of_farseer(chinchilla: Any, multiplicative: Any, best: Any) -> str:
    """The grid of Farseer, its largest runs held out."""
    errors = [f"{100 * d['score']['rmsle']:.2f} %" for d in (chinchilla, multiplicative, best)]
    inside = [round(d["score"]["coverage"] * d["score"]["banded"]) for d in (chinchilla, multiplicative, best)]
    n = best["score"]["rows"]
    return (
        f"The held-out runs are predicted to {errors[0]} by Chinchilla's law, to {errors[1]} by a law whose exponent "
        f"in D hangs on N (multiplicative), to {errors[2]} by the average that the table's own hold-outs choose before "
        f"the larger runs are looked at. N and D do not add. Of {n} points {inside[0]}, {inside[1]} and {inside[2]} "
        "lie in the 90 % bands, which hold the error of the form: those of the additive law are as much wider."
    )


def of_step_law(rate: Any, batch: Any) -> str:
    """The sweep over rate and batch of Step Law."""
    r, b = rate["fits"][0]["params"], batch["fits"][0]["params"]
    return (
        f"From the best of each cell by a parabola: lr goes as N^{interval(r['p'])} D^{interval(r['q'])} over "
        f"{rate['fits'][0]['n_rows']} cells, batch as D^{interval(b['r'])} over {batch['fits'][0]['n_rows']}. The "
        "printed exponents lie inside, and so does much else: the sizes of this table span .7 of a decade and the data "
        "1.4, and the intervals say what that leaves open."
    )


def of_porian(tuned: Any) -> str:
    """The isoFLOP sweeps of Porian et al."""
    parts = [f"{name} {interval(approach['a'])}" for name, approach in tuned["approaches"].items()]
    return (
        f"The exponent a of N_opt by each approach: {'; '.join(parts)}. Where the parametric law disagrees with the "
        "profiles, the form of the law is off; the profiles do not assume one."
    )


def of_gemstones(fit: Any) -> str:
    """The Gemstones."""
    one = fit["fits"][0]
    at = ", ".join(f"{k} {interval(one['params'][k])}" for k in ("E", "alpha", "beta"))
    return (
        f"{at}; objective {one['objective']:.8f}, {one['n_rows']} rows of {one['n_runs']} runs. A run is resampled "
        f"whole, so that its rows do not count as so many runs."
    )


def of_repetition(form: Any, scores: Any, penalty: Any) -> str:
    """Repeated data."""
    one = form["fits"][0]
    at = ", ".join(f"{k} {interval(one['params'][k])}" for k in ("R_D", "R_N"))
    return (
        f"With the five others at their printed values: {at}, {one['status']}. The printed 15.4 and 5.31 are a local "
        f"minimum (objective .0158259; here {one['objective']:.7f}), and these runs do not say how much repetition is "
        f"worth. On the runs of ScaleBench (161, 21 larger ones held out) Chinchilla's law predicts to "
        f"{100 * scores['score']['rmsle']:.2f} %, a penalty for models that are large for their distinct data "
        f"(overfit_penalty) to {100 * penalty['score']['rmsle']:.2f} %."
    )


def of_parallel(fit: Any) -> str:
    """ParScale."""
    rows = [
        f"{one['by']['group']}: " + ", ".join(f"{k} {interval(v)}" for k, v in one["params"].items())
        for one in fit["fits"]
    ]
    return "; ".join(rows) + "."


EPOCH = "epoch-research__analyzing-chinchilla/svg_extracted_data.csv"
BENCH = "PlanarG__active-sl"
MUENNIGHOFF = {
    "E": math.exp(0.6254804),
    "A": math.exp(6.255414),
    "alpha": 0.3526596,
    "B": math.exp(7.3049974),
    "beta": 0.3526596,
}
PINS = " ".join(f"--pin {name}={value:.7g}" for name, value in MUENNIGHOFF.items())
SECTIONS = (
    Section(
        "Chinchilla: the printed fit is not the optimum of its own objective",
        "github.com/epoch-research/analyzing-chinchilla, `svg_extracted_data.csv`",
        "Besiroglu et al. 2024 (arXiv:2404.10102) print E 1.8172, A 482.01, α .3478, B 2085.43, β .3658 for 240 of the "
        "245 points that they read off a figure of Hoffmann et al. 2022.",
        ('fit {0} --where "L < 3.446995"', 'fit {0} --where "L < 3.446995" --loss l1 --interval none', "frontier {0}"),
        (EPOCH,),
        of_chinchilla,
    ),
    Section(
        "Farseer: which coupling of N and D predicts",
        "github.com/PlanarG/active-sl (ScaleBench, arXiv:2604.22753), `farseer_train.csv` and `farseer_test.csv`",
        "Li et al. 2025 (arXiv:2506.10972) trained about 400 models on a grid of N and D and propose a law of nine "
        "parameters.",
        tuple(f"predict {{0}} --law {law} --points {{1}}" for law in ("chinchilla", "multiplicative", "best")),
        (f"{BENCH}/farseer_train.csv", f"{BENCH}/farseer_test.csv"),
        of_farseer,
    ),
    Section(
        "Step Law: exponents of the best rate and batch",
        "github.com/step-law/steplaw, `dense_lr_bs_loss.csv`",
        "Li et al. 2025 (arXiv:2503.04715) give lr = 1.79 N^-.713 D^.307 and batch = .58 D^.571.",
        ("fit {0} --law lr_rule", "fit {0} --law batch_rule"),
        ("step-law__steplaw/dense_lr_bs_loss.csv",),
        of_step_law,
    ),
    Section(
        "Porian et al.: the exponent of N_opt",
        "github.com/formll/resolving-scaling-law-discrepancies, the points of its results as a table",
        "Porian et al. 2024 (arXiv:2406.19146) get a = .4970 for tuned runs on RefinedWeb.",
        ("""frontier {0} --where "file = 'summary_df' and dataset = 'rw' and hparams = 'tuned' and N > 0\"""",),
        ("formll__resolving-scaling-law-discrepancies/isoflop_points.csv",),
        of_porian,
    ),
    Section(
        "Gemstones: width, depth and data",
        "github.com/mcleish7/gemstone-scaling-laws, `wandb_df_for_fitting_hot_100b+.jsonl`",
        "McLeish et al. 2025 (arXiv:2502.06857) print α .2576, β .5909 and an objective of .00069233.",
        ("fit {0} --delta 1e-4",),
        ("mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl",),
        of_gemstones,
    ),
    Section(
        "Repeated data: how much a repetition is worth is not identified",
        "github.com/huggingface/datablations, `parametric_fit_outliers_removed_182.csv`; github.com/PlanarG/active-sl, "
        "`data_constrained_train.csv` and `data_constrained_test.csv`",
        "Muennighoff et al. 2023 (arXiv:2305.16264) print R_D 15.39 and R_N 5.31.",
        (
            f"fit {{0}} --law data_constrained {PINS}",
            "predict {1} --law chinchilla --points {2}",
            "predict {1} --law overfit_penalty --points {2}",
        ),
        (
            "huggingface__datablations/parametric_fit_outliers_removed_182.csv",
            f"{BENCH}/data_constrained_train.csv",
            f"{BENCH}/data_constrained_test.csv",
        ),
        of_repetition,
    ),
    Section(
        "ParScale: parallel streams",
        "github.com/PlanarG/active-sl, `parallel_train.csv`",
        "Chen et al. 2025 (arXiv:2505.10475) fit L = E + (A/(N (k ln P + 1)))^α to 24 points of each of two corpora.",
        ("fit {0} --law parscale --by group",),
        (f"{BENCH}/parallel_train.csv",),
        of_parallel,
    ),
)


def of_schedules() -> str:
    """Whole curves under nine schedules; of separate files, so not by a verb."""
    one, two = (predicted(size, {}) for size in ("25", "100"))
    statuses = [str(size[0].status).replace("_", " ") for size in (one, two)]
    objectives = [f"{float(size[0].objective or 0):.3g}" for size in (one, two)]
    cosine = [f"{100 * size[1].shares['cosine_72000']:.0f} %" for size in (one, two)]
    return (
        "## Multi-power law: whole curves under any schedule\n\n"
        "github.com/thu-yao-01-luo/MultiPowerLaw, `csv_25` and `csv_100`. Luo et al. 2025 (arXiv:2503.12811) fit the "
        "loss along three schedules (constant, cosine, two stages) and predict it along six others, with R² .9988 and "
        ".9983 by their printed parameters: the mean of each curve's R².\n\n"
        "```\npython benchmarks/curves.py schedules\n```\n\n"
        f"At the optimum of Huber's loss on the three curves R² on the six is {one[1].r2:.4f} for the model of 25 M "
        f"parameters and {two[1].r2:.4f} for that of 100 M, the mean of each curve's; {one[1].of_rows:.4f} and "
        f"{two[1].of_rows:.4f} of all rows together; the mean absolute error {one[1].error:.4f} and "
        f"{two[1].error:.4f} nats. Of the sum of squares {cosine[0]} and {cosine[1]} are of one schedule, a cosine "
        "three times as long as any that was fitted, whose loss is predicted too low, by more and more towards its "
        f"end; the early steps are not to blame. The objective on the three is {objectives[0]} and {objectives[1]}; "
        "it is .000291 and .000281 at the printed parameters, which fit the three curves less well and predict the "
        "six better. Another search, 256 starts of 400 steps, ends at the same two optima.\n\nOther objectives and "
        "other weights move little: by least squares of ln L R² is .9977 and .9970, by least absolute deviations "
        ".9976 and .9971, where each curve weighs the same .9978 and .9970, without the steps up to 4,000 .9945 and "
        ".9970, on average over fits to 30 resamples of blocks of ten rows .9975 and .9972. Residuals of the smaller "
        "model are autocorrelated, by .8 to .9 from row to row; an error of that form in the objective (AR(1), its "
        "coefficient estimated with the rest) takes R² below .99, since the fit then follows the slopes of curves "
        "and leaves their height. Those of the larger model are nearly white, .0 to .5, and scatter by .0003 about "
        "the law, which holds there to the noise: what is missing is beyond the three curves and not in how they are "
        "fitted. So three schedules do not tell these six any better. "
        f"They leave parameters open that the six would tell: the fits are {statuses[0]} and {statuses[1]}.\n"
    )


def main() -> None:
    """Write the page."""
    data = Path(os.environ.get("ISOFLOP_REFERENCE_DATA", ""))
    if not data.is_dir() or not str(data).strip("."):
        sys.exit("ISOFLOP_REFERENCE_DATA must name the folder of published tables")
    parts = []
    for section in SECTIONS:
        print(section.title, file=sys.stderr)
        parts.append(section.page(data))
    PAGE.write_text(INTRO + "\n" + "\n".join([*parts, of_schedules()]))


if __name__ == "__main__":
    main()
