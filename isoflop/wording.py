"""Numbers, times and names as people read them, in prose, in tables and on the command line; paths as Hydra does.

number(2e10)          # '2·10¹⁰', in prose
short(25000.0)        # '2.5e4', as the command line takes it
clock(75)             # '1 min 15 s'
printable("\x1b[2J")   # '\\x1b[2J': text of a table, which a terminal must not obey
"""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

WIDE = 1000  # characters of a line: a terminal breaks a long one, where rich would cut its numbers short
MOST_SHOWN = 80  # characters of a cell that an error quotes
MOST_NAMED = 60  # characters of a name in a page or a figure
# control characters but tab and newline, lone surrogates, marks that turn the direction of text or end a line
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
# text that a spreadsheet takes for a formula by its beginning (OWASP, CSV injection), quoted already or not
FORMULA, QUOTED_FORMULA = re.compile(r"'*[=+\-@\t\r]"), re.compile(r"'+[=+\-@\t\r]")
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """Return a number with the fewest signs: 10¹⁰, 2·10¹⁰, 2000, 2.5, 0.031."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{float(f'{value:.3g}'):g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    mantissa = mantissa.removesuffix(".0")
    return power if mantissa == "1" else f"{mantissa}·{power}"


def count(value: float) -> str:
    """Return a size in short: 20k, 1.4M."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def printable(text: str) -> str:
    """Return text with its control characters written out, so that a terminal, page or figure only shows it."""
    return UNPRINTABLE.sub(lambda found: (r"\x%02x" if ord(found[0]) < 256 else r"\u%04x") % ord(found[0]), text)


def one_line(value: object) -> str:
    """Return a value as text of one line that a terminal takes for nothing but text."""
    return printable(str(value)).replace("\n", "\\n").replace("\t", "\\t")


def cut(text: str, most: int) -> str:
    """Cut text to at most `most` characters, ending in an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def cell(value: object) -> str:
    """Return a cell as an error quotes it: text in quotes, control characters written out, at most MOST_SHOWN long."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        try:
            return f"{value:g}"
        except OverflowError:
            return f"a number of {int(value).bit_length() * 0.30103:.0f} digits"
    text = str(value[: 2 * MOST_SHOWN] if isinstance(value, str) else value)
    text = cut(one_line(text), MOST_SHOWN)
    return f"'{text}'" if isinstance(value, str) else text


def distinct_names(names: Iterable[str], most: int = MOST_NAMED) -> dict[str, str]:
    """Return each name as a page or a figure can bear it: printable, on one line, cut, and still unlike the others."""
    short: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name in short:
            continue
        text = cut(" ".join(printable(name[: 4 * most]).split()) or "(blank)", most)
        count = 2
        while text in taken:  # two that begin alike
            text, count = f"{cut(text.split(' #')[0], most - 8)} #{count}", count + 1
        taken.add(text)
        short[name] = text
    return short


def spreadsheet(value: object) -> object:
    """Return a cell as a spreadsheet shows and does not run it: a quote before what looks like a formula."""
    if not isinstance(value, str) or not FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def from_spreadsheet(value: object) -> object:
    """Return a cell as it was before `spreadsheet` wrote it."""
    return value[1:] if isinstance(value, str) and QUOTED_FORMULA.match(value) else value


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return a table as CSV, names first; formulas are quoted as by `spreadsheet`, and missing cells are blank."""
    text = io.StringIO()
    write_csv(text, names, rows)
    return text.getvalue()


def write_csv(file: TextIO, names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table into an open file as `csv_text` has it, a row at a time."""
    cells = ([row.get(name) for name in names] for row in rows)
    csv.writer(file, lineterminator="\n").writerows(map(spreadsheet, line) for line in chain([names], cells))


def percent(share: float, digits: int | None = 1, *, signed: bool = False) -> str:
    """Return a share in per cent: 1.3 %, −1.3 %, or +1.3 % where signed; without `digits` in two: 0.45 %, 100 %."""
    if digits is None:
        return f"{float(f'{100 * share:.2g}'):g} %"
    return f"{100 * share:{'+' * signed}.{digits}f} %".replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """Join names in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def short(number: float) -> str:
    """Return a size in two digits, as the command line takes it: 2.5e4."""
    return f"{number:.2g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def clock(seconds: float) -> str:
    """Return a length of time: 1 min 15 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def states(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def gigabytes(size: float) -> str:
    """Write bytes in MB, GB or TB."""
    if size < 1e9:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e12:.1f} TB" if size >= 1e12 else f"{size / 1e9:.1f} GB"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean alpha?' where a known name is close, otherwise nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def did_you_mean(value: object, choices: Iterable[object]) -> str:
    """Return the end of the sentence about an unknown name: a near one, and all that may be chosen."""
    names = [str(choice) for choice in choices]
    return f"{suggest(str(value), names) or ';'} choose one of {', '.join(names)}"


def quoted(path: Path) -> str:
    """Return a path as Hydra's grammar takes any text."""
    # within quotes a backslash is one but before a quote, where it is doubled (Hydra, "Quoted values" of its grammar)
    escaped = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), str(path))
    return "'" + escaped.replace("${", "\\${") + "'"


def version() -> str:
    from importlib import metadata

    try:
        return f"isoflop {metadata.version('isoflop')}"
    except metadata.PackageNotFoundError:  # a checkout on the path, never installed
        return "isoflop, not installed"
