"""Columns of foreign tables under our names: of well-known public tables, else by the names that are usual for them.

A public table is recognised only where every column of a preset is there and none of ours is. In any other table a
column that we call N, D, C or L and that is not there is the one of a usual name (`params`, `tokens (B)`,
`flops_1e18`, `val_loss`), with the unit that the name states; where two columns bear usual names of one, neither is
taken. Nothing is recognised where the user has named a column, and what was is a note of every result.

    recognise(table)   # (table with N, C, L, D, 'columns as in the points digitised from Hoffmann et al. 2022 ...')
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pandas as pd
from pandas.api.types import is_numeric_dtype


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


# what N, D, C and L are usually called, in small letters with _ between words
USUAL = {
    "N": (
        "n_params",
        "num_params",
        "params",
        "parameters",
        "n_parameters",
        "num_parameters",
        "param_count",
        "model_size",
    ),
    "D": ("tokens", "n_tokens", "num_tokens", "train_tokens", "training_tokens", "tokens_seen", "dataset_size"),
    "C": ("flops", "flop", "train_flops", "training_flops", "total_flops", "compute", "training_compute"),
}
# a loss on what was not trained on before one that does not say so; the first that is there is taken
LOSSES = ("val_loss", "valid_loss", "validation_loss", "eval_loss", "test_loss", "heldout_loss", "final_loss", "loss")
_WORDS = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
# `params (M)`, `tokens [billions]`, `flops_1e18`, `params_in_millions`: a name and what it is counted in
_COUNTED = re.compile(r"(?P<name>.+?)[\s_]*[(\[]\s*(?P<unit>[^)\]]*?)\s*[)\]]|(?P<bare>.+?)_(?:in_)?(?P<suffix>[^_]+)")


def recognise(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table under our names and a sentence on what it was taken for; as it is, and '', where nothing is known."""
    for preset in PRESETS:
        if preset.fits(table.columns):
            return _preset(table, preset)
    return _by_usual_names(table)


def _preset(table: pd.DataFrame, preset: Preset) -> tuple[pd.DataFrame, str]:
    named, renamed = _renamed(
        table, {ours: (name, preset.units.get(ours, 1.0)) for ours, name in preset.columns.items()}
    )
    if preset.D_of_C:
        # training takes 6 FLOPs for each parameter and target (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)
        named["D"] = named["C"] / (6 * named["N"])
        renamed.append("D=C/(6 N)")
    return named, f"columns as in {preset.what}: {', '.join(renamed)}"


def _by_usual_names(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    usual = dict[str, tuple[str, float]]()
    for ours, names in USUAL.items():
        counted = [(str(c), unit) for c in table.columns if (unit := _unit(str(c), names))]
        if ours not in table and len(counted) == 1 and (counted[0][1] == 1 or is_numeric_dtype(table[counted[0][0]])):
            usual[ours] = counted[0]
    losses = {_stem(str(c)): str(c) for c in reversed(table.columns)}
    if "L" not in table and (loss := next((losses[name] for name in LOSSES if name in losses), None)):
        usual["L"] = loss, 1.0
    there = {*usual, *table.columns}
    if not usual or "L" not in there or not there & set(USUAL):
        return table, ""
    named, renamed = _renamed(table, usual)
    return named, f"columns by their usual names: {', '.join(renamed)}; --columns takes others"


def _renamed(table: pd.DataFrame, columns: Mapping[str, tuple[str, float]]) -> tuple[pd.DataFrame, list[str]]:
    """The table with columns of ours, and words for each: ours -> (theirs, its unit in ours)."""
    units = {ours: (table[name] if unit == 1 else table[name] * unit) for ours, (name, unit) in columns.items()}
    words = [f"{ours}={name}" if unit == 1 else f"{ours}={unit:g} {name}" for ours, (name, unit) in columns.items()]
    return table.assign(**units), words


def _unit(column: str, names: Collection[str]) -> float | None:
    """What a column of one of these names counts in; None for any other column, or a unit that is not known."""
    if _stem(column) in names and _stem(column) == _plain(column):
        return 1.0
    match = _COUNTED.fullmatch(column)
    if match is None or _plain(match["name"] or match["bare"]) not in names:
        return None
    word = (match["unit"] or match["suffix"]).lower()
    if power := re.fullmatch(r"(?:1?e|10\^)(\d{1,2})", word):
        return 10.0 ** int(power[1])
    return _WORDS.get(word) or _WORDS.get(word.removesuffix("s"))


def _stem(column: str) -> str:
    """A column's name without what stands in brackets."""
    return _plain(re.sub(r"[(\[][^)\]]*[)\]]$", "", column.strip()))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
