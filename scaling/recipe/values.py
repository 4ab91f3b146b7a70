"""What the numbers of a recipe may be: checked before torch is imported, and again where a recipe is built (no torch).

refuse({"batch": 16, "lr": 0.01, "warmup": 0.05})             # silent; one sentence where one cannot be
"""

from collections.abc import Mapping
from typing import Any

from isoflop.checks import not_negative, one_of, positive, share, whole_number
from isoflop.errors import UserError

PRECISIONS = ("fp32", "bf16")
PARAMETRIZATIONS = ("mup", "standard")
SCHEDULES = ("cooldown", "cosine")
CHOICES = {"precision": PRECISIONS, "parametrization": PARAMETRIZATIONS, "schedule": SCHEDULES}


def refuse(recipe: Mapping[str, Any]) -> None:
    """Raise UserError for an impossible value of a recipe; rules and other keys are skipped."""
    given = {name: value for name, value in recipe.items() if not isinstance(value, Mapping)}
    for check, names in (
        (whole_number, ("batch", "base_width", "base_depth", "horizon_steps")),
        (positive, ("lr", "eps", "clip", "muon_lr")),
        (share, ("beta1", "beta2", "warmup", "cooldown")),
        (not_negative, ("weight_decay", "horizon_power")),
    ):
        for name in names:
            if name in given:
                check(f"recipe.{name}", given[name])
    for name, allowed in CHOICES.items():
        if name in given:
            one_of(f"recipe.{name}", given[name], allowed)
    if given.get("warmup_steps") is not None:
        whole_number("recipe.warmup_steps", given["warmup_steps"], least=0)
    if given.get("horizon_power") and given.get("schedule") == "cosine":
        raise UserError(
            f"recipe.horizon_power={given['horizon_power']} shapes the trunk of schedule=cooldown, and this is cosine; "
            "give recipe.schedule=cooldown, or recipe.horizon_power=0"
        )
    warmup, cooldown = given.get("warmup", 0), given.get("cooldown", 0)
    if warmup + cooldown > 1:
        raise UserError(f"recipe.warmup={warmup} and recipe.cooldown={cooldown} exceed the run; lower one")
