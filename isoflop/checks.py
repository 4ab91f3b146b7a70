"""Refusals of a value in one sentence: what was given and what is allowed.

whole_number("family.width", 64)
one_of("recipe.schedule", "cosine", ("cooldown", "cosine"))
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence

from isoflop.errors import UserError

# what a knob may be: a least whole number, one of these values, or what a check lets pass
Limits = Mapping[str, int | tuple[object, ...] | Callable[[str, object], None]]


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(name: str, value: object, instead: str = "") -> None:
    """Refuse anything but a finite number; instead: what to give, as the end of the sentence."""
    if not is_number(value):
        raise UserError(f"{name}={value!r} is not a number{instead}")


def positive(name: str, value: object, instead: str = "") -> None:
    """Refuse anything but a finite number above 0; instead: what to give, as the end of the sentence."""
    if not is_number(value) or not value > 0:  # type: ignore[operator]
        raise UserError(f"{name}={value!r} is not a number above 0{instead}")


def not_negative(name: str, value: object, instead: str = "") -> None:
    """Refuse anything but a finite number of at least 0."""
    if not is_number(value) or not value >= 0:  # type: ignore[operator]
        raise UserError(f"{name}={value!r} is not a number of at least 0{instead}")


def share(name: str, value: object) -> None:
    """Refuse anything but a number from 0 up to, but excluding, 1."""
    if not is_number(value) or not 0 <= value < 1:  # type: ignore[operator]
        raise UserError(f"{name}={value!r} is not a number from 0 up to 1")


def whole_number(name: str, value: object, least: int = 1) -> None:
    """Refuse anything but a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name}={value!r} is not a whole number of at least {least}")


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse anything but the allowed values; 0 and 1 are not false and true."""
    if not any(value == good and isinstance(value, bool) == isinstance(good, bool) for good in allowed):
        typed = (json.dumps(good) if good is None or isinstance(good, bool) else str(good) for good in allowed)
        raise UserError(f"{name}={value!r} is not one of {', '.join(typed)}")


def knobs(prefix: str, choice: object) -> None:
    """Refuse knobs beyond the `limits` of a choice's class and its bases; what is None by default may be None."""
    kinds = reversed(type(choice).__mro__)
    for knob, limit in {k: v for kind in kinds for k, v in vars(kind).get("limits", {}).items()}.items():
        name, value, default = f"{prefix}.{knob}", getattr(choice, knob), getattr(type(choice), knob, 0)
        for each in value if isinstance(default, tuple) else () if value is default is None else (value,):
            if isinstance(limit, int):
                whole_number(name, each, limit)
            elif isinstance(limit, tuple):
                one_of(name, each, limit)
            else:
                limit(name, each)


def multiple(name: str, value: int, of: str, unit: int) -> None:
    """Refuse a size that does not divide into whole units."""
    if value % unit:
        raise UserError(f"{name}={value} is not a multiple of {of}={unit}; give {unit}, {2 * unit}, {3 * unit} ...")


def price(text: str, *, speed: bool = False) -> tuple[float, float] | None:
    """Return what a device-hour costs, '2.5/h' or '2.5', and with `speed` its FLOP/s, '2.5/h@4e14'; None for ''."""
    if not text:
        return None
    of = r"(\d+\.?\d*|\.\d+)"
    match = re.fullmatch(rf"{of}(?:/h(?:our)?)?(?:@{of}(e\+?\d\d?)?)?", re.sub(r"\s", "", text))
    flops = float(match[2] + (match[3] or "")) if match and match[2] else 0.0
    if match is None or bool(flops) != speed:
        wanted = " at a speed; write --price 2.5/h@4e14 [FLOP/s]" if speed else "; write --price 2.5/h"
        raise UserError(f"--price {text!r} is not a price per hour{wanted}")
    return float(match[1]), flops
