"""Numbers, times and names as people read them, in prose, in tables and on the command line; paths as Hydra does.

number(2e10)          # '2·10¹⁰', in prose
short(25000.0)        # '2.5e4', as the command line takes it
clock(75)             # '1 min 15 s'
"""

from collections.abc import Mapping
from pathlib import Path

WIDE = 1000  # characters of a line: a terminal breaks a long one, where rich would cut its numbers short
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """A number with the fewest signs: 10¹⁰, 2·10¹⁰, 2000, 2.5, 0.031."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{float(f'{value:.3g}'):g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    mantissa = mantissa.removesuffix(".0")
    return power if mantissa == "1" else f"{mantissa}·{power}"


def count(value: float) -> str:
    """A size in short: 20k, 1.4M."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def percent(share: float, digits: int = 1, *, signed: bool = False) -> str:
    """A share in per cent: 1.3 %, −1.3 %, or +1.3 % where signed."""
    text = f"{100 * share:+.{digits}f} %" if signed else f"{100 * share:.{digits}f} %"
    return text.replace("-", "−")


def listed(names: list[str]) -> str:
    """Names in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def short(number: float) -> str:
    """A size in two digits, as the command line takes it: 2.5e4."""
    return f"{number:.2g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def clock(seconds: float) -> str:
    """A length of time."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def states(counts: Mapping[str, int]) -> str:
    """How many are in each state."""
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def gigabytes(size: float) -> str:
    """Bytes in MB, GB or TB."""
    for unit, name in ((1e12, "TB"), (1e9, "GB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e6:.0f} MB"


def quoted(path: Path) -> str:
    """A path as Hydra's grammar takes any text."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"


def version() -> str:
    """What is installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return f"isoflop {installed('isoflop')}"
    except PackageNotFoundError:  # a checkout on the path, never installed
        return "isoflop, not installed"
