"""Well-known public tables, recognised by their columns.

A table is one of them only where every column of a preset is there and none of ours is; any other is read by the names
that are usual (names.py). What was recognised is a note of every result.

    preset_of(table)   # (table with N, C, L, D, 'columns as in the points digitised from Hoffmann et al. 2022 ...')
"""

from collections.abc import Collection, Mapping
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
    # the unit of the table's column, in ours
    units: Mapping[str, float] = field(default_factory=dict)
    # the table has no other columns
    alone: bool = False

    def fits(self, columns: Collection[str]) -> bool:
        """Whether a table of these columns is this one: all are there, and none of ours would be overwritten."""
        needed = {*self.columns.values(), *self.also, *self.ours}
        clash = (_CORE - set(self.ours)) & set(columns)
        return needed <= set(columns) and not clash and (not self.alone or needed == set(columns))


_CORE = {"N", "D", "C", "L"}

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
        "the sweep over rate and batch of the Step Law, Li et al. 2025, experts",
        {"L": "loss", "batch": "bs", "n_active": "Na", "run_id": "exp_name"},
        also=("smooth loss", "moeh"),
        ours=("N", "D"),
    ),
    Preset(
        "the sweep over rate and batch of the Step Law, Li et al. 2025",
        {"L": "loss", "batch": "bs", "run_id": "exp_name"},
        also=("smooth loss",),
        ours=("N", "D"),
    ),
    Preset(
        "the optimal pairs of Porian et al. 2024",
        {"N": "n", "D": "t", "C": "flops", "L": "loss", "N_opt": "n", "D_opt": "t"},
        also=("n_star_std", "param_count"),
    ),
    Preset(
        "the sweep over rate and batch of SLDBench and ScaleBench",
        {"N": "non_embedding_param_size", "D": "data_size", "batch": "bsz", "L": "lm_loss"},
        also=("lr",),
    ),
    Preset(
        "the parallel streams of SLDBench and ScaleBench (ParScale, Chen et al. 2025)",
        {"N": "num_params", "streams": "parallel_size", "L": "loss"},
    ),
    Preset(
        "the sparse models of ScaleBench",
        {"n_active": "N_active", "sparsity": "P", "L": "loss"},
        also=("N_dense", "D1", "D2"),
        units={"n_active": 1e9},
    ),
    Preset(
        "Farseer's grid in ScaleBench (Li et al. 2025)",
        {"L": "loss"},
        also=("group",),
        ours=("N", "D"),
        alone=True,
    ),
    Preset(
        "a loss curve of the MultiPowerLaw, Luo et al. 2025",
        {"L": "loss"},
        also=("step", "lr"),
        alone=True,
    ),
)


def preset_of(table: pd.DataFrame) -> tuple[pd.DataFrame, str] | None:
    """The table under our names and a sentence on what it was taken for; None where it is no public table."""
    preset = next((preset for preset in PRESETS if preset.fits(table.columns)), None)
    if preset is None:
        return None
    units = {ours: preset.units.get(ours, 1.0) for ours in preset.columns}
    named = table.assign(**{
        ours: table[name] if units[ours] == 1 else table[name] * units[ours] for ours, name in preset.columns.items()
    })  # fmt: skip
    words = [f"{ours}={name}" if units[ours] == 1 else f"{ours}={units[ours]:g} {name}"
             for ours, name in preset.columns.items()]  # fmt: skip
    if preset.D_of_C:
        # training takes 6 FLOPs for each parameter and target (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)
        named["D"] = named["C"] / (6 * named["N"])
        words.append("D=C/(6 N)")
    return named, f"columns as in {preset.what}: {', '.join(words)}"
