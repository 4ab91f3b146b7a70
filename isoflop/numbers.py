"""Numbers as prose has them: 10¹⁰, 2·10¹⁰, 20k, −1.3 %."""

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """A number with the fewest signs: 10¹⁰, 2·10¹⁰, 2.5, 0.031."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}"
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
