"""Well-known public tables, recognised by their columns: what each is called here, and a D that follows from C and N.

A table is recognised only where every column of a preset is there, none of ours is, and the user has named none; what
was recognised is said wherever the answer is.

    recognise(table)   # (table with N, C, L, D, 'columns as in the points digitised from Hoffmann et al. 2022 ...')
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Preset:
    """Our name -> the table's; `also`: columns that must be there for it to be this table; `D_of_C`: D = C/(6 N)."""

    what: str
    columns: Mapping[str, str]
    also: tuple[str, ...] = ()
    D_of_C: bool = False
    # columns of ours that the table has by itself
    ours: tuple[str, ...] = field(default=())


# the first that fits is taken
PRESETS = (
    Preset(
        "the points digitised from Hoffmann et al. 2022, figure 4",
        {"N": "Model Size", "C": "Training FLOP", "L": "loss"},
        D_of_C=True,
    ),
    Preset(
        "the isoFLOP points of Porian et al. 2024",
        {"N": "params", "D": "tokens", "C": "flops", "L": "loss"},
        also=("hparams", "param_count"),
    ),
    Preset(
        "the Gemstones of McLeish et al. 2025",
        {"N": "params_active_precise", "D": "tokens", "L": "final_loss", "run_id": "run_name"},
    ),
    Preset(
        "the data-constrained runs of Muennighoff et al. 2023",
        {"N": "params", "D": "tokens", "D_unique": "unique_tokens", "L": "loss"},
    ),
    Preset(
        "the over-training runs of Gadre et al. 2024",
        {"N": "params", "D": "tokens", "L": "loss"},
        also=("chinchilla_multiplier", "val_dataset"),
    ),
    Preset(
        "a series of Caballero et al. 2022",
        {"D": "dataset_size", "L": "test_cross_entropy"},
    ),
    Preset(
        "the routed models of Clark et al. 2022",
        {"N": "dense_parameter_count", "n_experts": "num_experts", "L": "loss_validation", "run_id": "hyper_id"},
        also=("router_type", "step"),
    ),
    Preset(
        "the sweep over rate and batch of the Step Law, Li et al. 2025",
        {"L": "loss", "batch": "bs", "run_id": "exp_name"},
        also=("smooth loss",),
        ours=("N", "D"),
    ),
)
_CORE = {"N", "D", "C", "L"}


def recognise(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table under our names and a sentence on what it was taken for; as it is, and '', where it is no preset."""
    for preset in PRESETS:
        needed = {*preset.columns.values(), *preset.also, *preset.ours}
        if not needed <= set(table.columns) or (_CORE - set(preset.ours)) & set(table.columns):
            continue
        named = table.assign(**{ours: table[theirs] for ours, theirs in preset.columns.items()})
        said = [f"{ours}={theirs}" for ours, theirs in preset.columns.items()]
        if preset.D_of_C:
            # training takes 6 FLOPs for each parameter and target (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)
            named["D"] = named["C"] / (6 * named["N"])
            said.append("D=C/(6 N)")
        return named, f"columns as in {preset.what}: {', '.join(said)}"
    return table, ""
