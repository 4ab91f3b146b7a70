"""Which run a config is: a hash of its science, not of how the code spells it (no torch).

Equal ids mean equal results on the same machine and code. Classes may move, and a knob at the value it had when it was
added is left out. A yaml states these:

    _added_: {dropout: 0.0}         # the value at which a run is the one it was before there was such a knob
    _place_: [path]                 # knobs that say where something lies, and not what it is
    _allowed_: {norm: [pre, post]}  # the values that a knob may have; no part of the identity

    run_id(config)                  # '0f3a9c2b7d11'
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# version of the rule below; 1 hashed the spelling of classes too
RULE = 2
# the groups that are a name and knobs
CHOICES = ("family", "data", "recipe")
# what determines a result; all else in a config is placement, names and bookkeeping
SCIENCE = (*CHOICES, "budget", "seed")

Config = Mapping[str, Any]

# the classes of rule 1 as they were called then, so that a folder made by it is found
_CLASSES_1 = {
    "family": {
        **dict.fromkeys(("gru", "lstm", "mingru", "tanh_rnn"), "recurrent.Recurrent"),
        **dict.fromkeys(("transformer", "vit"), "transformer.Transformer"),
        **dict.fromkeys(("cnn", "resnet"), "cnn.Cnn"),
        **dict.fromkeys(("ssm", "s4d"), "ssm.Ssm"),
        **{"hybrid": "hybrid.Hybrid", "mlp": "mlp.Mlp", "moe": "moe.Moe"},
    },
    "data": {"copy": "copy.Copy", "digits": "digits.Digits", "spectral": "spectral.Spectral", "text": "text.Text"},
    "recipe": {"adamw": "AdamW", "muon": "Muon", "step_law": "AdamW", "transfer": "AdamW"},
}
_MODULES_1 = {"family": "scaling.families", "data": "scaling.data", "recipe": "scaling.recipe"}


def run_id(config: Config) -> str:
    """Return the id of a run, 12 hex digits, from its config with the yamls' own words (`_added_`) still in it."""
    science: dict[str, Any] = {group: [config["names"][group], knobs(config[group])] for group in CHOICES}
    given = {name: value for name, value in config["budget"].items() if value is not None}
    science |= {"budget": _trunk(given or {"epochs": 1}, config["recipe"]), "seed": config["seed"], "rule": RULE}
    return digest(science)[:12]


def run_id_1(config: Config) -> str:
    """Return the id that rule 1 gave the same run."""
    science: dict[str, Any] = {"seed": config["seed"], "names": config["names"]}
    for group in CHOICES:
        own = _CLASSES_1[group].get(config["names"][group])
        spelled = config[group].get("_target_") if own is None else f"{_MODULES_1[group]}.{own}"
        science[group] = {"_target_": spelled} | knobs(config[group])
    science["budget"] = _trunk(config["budget"], config["recipe"])
    return digest(science)[:12]


def name_in(out: Path, config: Config) -> tuple[str, int]:
    """Return the name of a run's folder in `out` and the rule that gave it, which may be an earlier one."""
    name = run_id(config)
    if not (out / name).is_dir() and out.is_dir():
        earlier = run_id_1(config)
        if (out / earlier).is_dir():
            return earlier, 1
    return name, RULE


def knobs(node: Config) -> dict[str, Any]:
    """Return a choice's knobs, without those of places and those at the value at which they were added."""
    added, places = node.get("_added_") or {}, node.get("_place_") or ()
    own = {key: value for key, value in node.items() if not key.startswith("_") and key not in places}
    return {key: value for key, value in own.items() if key not in added or value != added[key]}


def digest(data: Any) -> str:
    """Hash plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _trunk(budget: Config, recipe: Config) -> dict[str, Any]:
    """Return what of a budget determines a run: its first mark, which the warm-up follows; where a rule of the recipe
    follows D, which is the largest, all marks; where the warm-up is given in steps, none."""
    follows = any(isinstance(value, dict) and value.get("D") for value in recipe.values())
    by_steps = recipe.get("warmup_steps") is not None
    lists = {name: marks for name, marks in budget.items() if isinstance(marks, list) and marks}
    numbers = {name: marks for name, marks in lists.items() if all(isinstance(mark, int | float) for mark in marks)}
    first = {name: {"first": None if by_steps else min(marks)} for name, marks in numbers.items()}
    return dict(budget) | ({} if follows else first)
