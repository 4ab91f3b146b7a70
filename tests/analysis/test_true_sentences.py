"""What a page says is true of its table, by a check of each sentence that uses nothing of the report.

Tables are drawn from laws that are known. The finding must give the family, the axis and the number that its law has: a
number within four half-widths of its own interval, and 90 % of the intervals must hold the truth. Of the other
sentences, alternative texts of figures included, each number is held against the rows or against the law, and a
sentence that no rule knows is an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest

from isoflop.analysis.claims.claim import load_claims
from isoflop.analysis.claims.declare import QUANTITIES, Pair
from isoflop.analysis.claims.quantities import listing
from isoflop.analysis.report.figures.base import Figure, draw_all
from isoflop.analysis.report.finding import finding
from isoflop.analysis.report.report import headline
from isoflop.analysis.report.sentences import summary
from isoflop.analysis.report.view import look

AXES = {"size": "N", "data": "D", "compute": "C"}
NUMBER = r"[−\d.]+"
FALLS = re.compile(rf"({NUMBER}) % \(95 % interval ({NUMBER}) % to ({NUMBER}) %[^)]*\)(?: for (\w+))?")
POWER = re.compile(rf"to the power|({NUMBER}) \(95 % interval ({NUMBER}) to ({NUMBER})[^)]*\)(?: for (\w+))?")


@dataclass(frozen=True)
class Truth:
    """A table, and what is true of each of its families: slopes of -ln L at its middle, and the exponent of N_opt."""

    rows: pd.DataFrame
    kind: str
    slopes: dict[str, dict[str, float]]
    power: dict[str, float]
    laws: dict[str, tuple[float, ...]]
    """E, the exponents alpha and beta, the loss above E at n by size and at d by data, n, d, and the noise drawn."""


def table(seed: int) -> Truth:
    """Draw a table of one to three families whose laws are known."""
    rng = np.random.default_rng((26, seed))
    kind = str(rng.choice(["isoflop", "grid", "ladder", "axis"]))
    if kind == "isoflop":
        C = np.repeat(np.geomspace(1e18, 1e20, 5), 7)
        N = 0.1 * np.sqrt(C) * 4 ** np.tile(np.linspace(-1, 1, 7), 5)
        D = C / 6 / N
    elif kind == "grid":
        N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 3e9, 6), np.geomspace(3e8, 1e11, 6)))
    else:
        N = np.geomspace(1e7, 3e9, 12) if kind == "ladder" else np.full(12, 1e8)
        D = 20 * N if kind == "ladder" else np.geomspace(3e8, 3e11, 12)
    parts, slopes, power, laws = [], {}, {}, {}
    for family in rng.permutation(["gru", "vit", "ssm"])[: rng.integers(1, 4)]:
        E, alpha, beta = rng.uniform(1, 2), rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.5)
        n, d = np.exp(np.log(N).mean()), np.exp(np.log(D).mean())
        a, b = rng.uniform(0.3, 1.0, 2)
        L = E + a * (N / n) ** -alpha + b * (D / d) ** -beta
        total = E + a + b
        size, data = a * alpha / total, b * beta / total
        slopes[str(family)] = {"N": size, "D": data, "C": (size + data) / 2}
        if kind == "grid":  # C then grows along the best split, of the middle's compute (Hoffmann et al. 2022, eq. 4)
            sizes = n * np.geomspace(1e-4, 1e4, 100_001)
            losses = E + a * (sizes / n) ** -alpha + b * (n / sizes) ** -beta
            best = int(losses.argmin())
            if (D / N).min() < d / n * (n / sizes[best]) ** 2 < (D / N).max():
                slopes[str(family)]["C"] = alpha * a * (sizes[best] / n) ** -alpha / losses[best]
        power[str(family)] = beta / (alpha + beta)
        noise = rng.uniform(0.001, 0.005)
        drawn = noise * rng.normal(size=len(N))
        laws[str(family)] = E, alpha, beta, a, b, n, d, float(np.sqrt((drawn**2).mean()))
        noisy = L * np.exp(drawn)
        parts.append(pd.DataFrame({"family": str(family), "N": N, "D": D, "C": 6 * N * D, "L": noisy}))
    return Truth(pd.concat(parts, ignore_index=True), kind, slopes, power, laws)


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def numbers(sentence: str, truth: Truth) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield (family, value, low, high, truth) of each number that a sentence gives."""
    only = next(iter(truth.slopes)) if len(truth.slopes) == 1 else ""
    if "to the power" in sentence:
        for value, low, high, family in POWER.findall(sentence):
            if value:
                yield family or only, number(value), number(low), number(high), truth.power.get(family or only, np.nan)
        return
    for part in re.split(r"(?=each doubling of )", sentence)[1:]:
        axis = AXES[re.match(r"each doubling of (\w+)", part)[1]]  # type: ignore[index]
        for value, low, high, family in FALLS.findall(part):
            slope = truth.slopes.get(family or only, {}).get(axis, np.nan)
            yield family or only, number(value), number(low), number(high), 100 * (1 - 2.0**-slope)


def false(sentence: str, truth: Truth) -> str:
    """Return what is false about a sentence; empty for a true one."""
    if lowest := re.match(r"The lowest loss is ([\d.]+) .*?(?:\((\w+)\))?\. ", sentence):
        best = truth.rows.loc[truth.rows["L"].idxmin()]
        wrong = abs(number(lowest[1]) / best["L"] - 1) > 1e-3 or lowest[2] not in (None, best["family"])
        return f"the lowest is {best['L']:.4g} of {best['family']}" if wrong else ""
    found = list(numbers(sentence, truth))
    if not found:
        return "it gives no number with an interval"
    step = 0.005 if "to the power" in sentence else 0.05  # the last digit that is written
    for family, value, low, high, expected in found:
        if not low - step <= value <= high + step:
            return f"{value} of {family} is outside its own interval"
        if not abs(value - expected) <= 4 * max(value - low, high - value) + 2 * step:  # NaN: no such family
            return f"{value} of {family} is {expected:.3g}"
    return ""


VALUE = r"[−-]?(?:[\d.]+·)?10[⁰¹²³⁴⁵⁶⁷⁸⁹]+|[−-]?\d+\.?\d*"
SERIES = re.compile(rf"(\w+)(?: by the (minima|law))?: ({VALUE}) at ({VALUE}) to ({VALUE}) at ({VALUE})")
BOUNDED = re.compile(rf"(\w+)(?: (E|alpha|beta|A|B))? ({VALUE}) \(({VALUE}) to ({VALUE})\)")
SHARES = re.compile(r"(\w+) ([\d.]+) %")


def value(text: str) -> float:
    """Read a number as the page writes it: 5.7·10¹⁷."""
    text = text.replace("−", "-").rstrip(".")
    if "10" in text and text[-1] in "⁰¹²³⁴⁵⁶⁷⁸⁹":
        factor, _, power = text.rpartition("10")
        return float(factor.rstrip("·") or 1) * 10.0 ** int(power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")))
    return float(text)


def near(text: str, expected: float, factor: float = 1.06) -> bool:
    """Return whether a number, written in two digits or more, is the expected one."""
    return bool(expected / factor <= value(text) <= expected * factor)


def best_split(truth: Truth, family: str, C: float) -> tuple[float, float]:
    """Return the size of the lowest loss at a compute, and its D/N, by the law."""
    E, alpha, beta, a, b, n, d, _ = truth.laws[family]
    N = n * np.geomspace(1e-4, 1e4, 100_001)
    D = C / 6 / N
    best = int((E + a * (N / n) ** -alpha + b * (D / d) ** -beta).argmin())
    return N[best], D[best] / N[best]


def wrong_trained(text: str, truth: Truth) -> bool:
    found = re.match(
        rf"(\d+) models(?: of (\d) families)? \(([\w, ]+)\) were trained, with ({VALUE}) to ({VALUE}) FLOPs each "
        r"\(([\d.]+) decades\); all finished\.",
        text,
    )
    if found is None:
        return True
    count, families, names, low, high, decades = found.groups()
    C = truth.rows["C"]
    return not (
        int(count) == len(truth.rows)
        and int(families or 1) == len(truth.laws)
        and names == ", ".join(sorted(truth.laws))
        and near(low, C.min())
        and near(high, C.max())
        and abs(float(decades) - np.log10(C.max() / C.min())) < 0.06
    )


def wrong_curve(text: str, truth: Truth) -> bool:
    """Check the ends of a curve: of the best runs, of the mean over the runs there, or of what the law adds to E."""
    axis = re.search(r"Across: [\w ]+, ([NDC])\b", text)
    found = SERIES.findall(text)
    if axis is None or {family for family, *_ in found} != {*truth.laws}:
        return True
    for family, _, y, x, y_end, x_end in found:
        rows = truth.rows[truth.rows["family"] == family]
        ends = rows.sort_values(axis[1]).groupby(np.log(rows[axis[1]]).round(6))["L"]
        lowest = "lowest losses" in text
        first, last = (ends.min().iloc[0], rows["L"].min()) if lowest else (ends.mean().iloc[0], ends.mean().iloc[-1])
        x_last = rows.loc[rows["L"].idxmin(), axis[1]] if lowest else rows[axis[1]].max()
        if not (near(x, rows[axis[1]].min()) and near(x_end, x_last)):
            return True
        if "above the fitted E" in text:
            if not value(y) > value(y_end) > 0 or value(y_end) > rows["L"].max() - truth.laws[family][0]:
                return True
        elif not (near(y, first, 1.006) and near(y_end, last, 1.006)):
            return True
    return False


def wrong_minima(text: str, truth: Truth) -> bool:
    for part in text.split(";"):
        named = re.search(r"\b(gru|vit|ssm|elm), N", part)
        if named is None or named[1] not in truth.laws:
            return True
        for N, C in re.findall(rf"N ({VALUE}) at C ({VALUE})", part):
            if not near(N, best_split(truth, named[1], value(C))[0], 1.45):
                return True
    return False


def wrong_splits(text: str, truth: Truth) -> bool:
    found = SERIES.findall(text)
    pairs = [(family, *pair) for family, _, y, x, y2, x2 in found for pair in ((y, x), (y2, x2))]
    return not found or any(
        family not in truth.laws or not near(split, best_split(truth, family, value(C))[1], 1.6)
        for family, split, C in pairs
    )


def wrong_bounded(text: str, truth: Truth) -> bool:
    """Check estimates with intervals: parameters against the law, errors of prediction against the noise."""
    found = BOUNDED.findall(text.split(". ", 1)[1])
    for family, name, v, low, high in found:
        if family not in truth.laws or not value(low) - 0.01 <= value(v) <= value(high) + 0.01:
            return True
        E, alpha, beta, a, _, _, _, noise = truth.laws[family]
        half = max(value(v) - value(low), value(high) - value(v))
        middle = (value(low) + value(high)) / 2  # a band is symmetric about its error
        if not name and (abs(value(v)) > 600 * noise + 3 or abs(middle - value(v)) > 0.1 * half + 0.01):
            return True
        known = {"E": E + (a if truth.kind == "axis" else 0), "alpha": beta if truth.kind == "axis" else alpha}
        known = {} if truth.kind == "ladder" else known | {"beta": beta}
        if name in known and abs(value(v) - known[name]) > 5 * half + 0.02:
            return True
    return not found


def wrong_shares(text: str, truth: Truth) -> bool:
    found = SHARES.findall(text)
    form = 0.15 if truth.kind == "ladder" else 0.01  # one power of C stands there for two
    return {family for family, _ in found} != {*truth.laws} or any(
        not 70 * truth.laws[family][-1] - 0.01 <= float(share) <= 130 * truth.laws[family][-1] + form
        for family, share in found
    )


def wrong_lowest(text: str, truth: Truth) -> bool:
    found = re.search(r"in nats per target; lower is better, and the lowest is ([\d.]+)\.", text)
    return found is None or not near(found[1], truth.rows["L"].min(), 1.006)


def wrong_difference(text: str, truth: Truth) -> bool:
    """Check a verdict on a pair: by how much the mean of ln L is lower, and for which of the two."""
    found = re.search(rf"the mean of ln_L is ({VALUE}) lower for (\w+) than for (\w+)", text, re.IGNORECASE)
    if found is None or not {found[2], found[3]} <= {*truth.laws}:
        return True
    means = np.log(truth.rows["L"]).groupby(truth.rows["family"]).mean()
    return not abs(means[found[3]] - means[found[2]] - value(found[1])) < 0.006 * abs(value(found[1])) + 1e-4


# how a sentence begins, or what it contains -> the check of it; True where it is false
RULES = {
    r"^(In the middle|The best size|By the fitted law|The lowest loss)": lambda text, truth: bool(false(text, truth)),
    r"^\d+ models": wrong_trained,
    r"^The loss is measured": wrong_lowest,
    r"^Loss (against (compute|data|size)|above the fitted E)": wrong_curve,
    r"^IsoFLOP profiles": wrong_minima,
    r"^Compute-optimal": wrong_splits,
    r"^(Predicted loss|Parameters of)": wrong_bounded,
    r"^(Residuals of|Root mean square)": wrong_shares,
    r"lower for \w+ than for": wrong_difference,
    r"^The runs of (gru|vit|ssm) do not identify the parameters of its law": lambda *_: False,
}


def is_false(sentence: str, truth: Truth) -> bool:
    """Return whether a sentence of the page is false; one that no rule knows is."""
    check = next((rule for start, rule in RULES.items() if re.search(start, sentence)), None)
    return check is None or bool(check(sentence, truth))


def said(truth: Truth) -> str:
    return finding(look(truth.rows, []))


def page(truth: Truth) -> list[str]:
    """Return every sentence of a table's page that has a number: finding, summary, verdicts, texts of figures."""
    view = look(truth.rows, [])
    drawn = {name: figure for name, figure in draw_all(view) if isinstance(figure, Figure)}
    texts = [figure.alt for figure in drawn.values()]
    texts += [figure.subtitle for figure in drawn.values() if figure.subtitle.startswith("Root mean")]
    texts += [finding(view), *summary(view)]
    axis = re.search(r"each doubling of (\w+)", finding(view))
    head = headline(view, drawn)
    if axis and head:  # the figure at the head is along an axis of the finding
        assert re.search(rf"Across: [\w ]+, [{AXES[axis[1]]}]\b", head.alt), (finding(view), head.alt)
    if len(truth.laws) > 1:
        with TemporaryDirectory() as folder:
            claim = Path(folder, "pair.yaml")
            rule = f"quantity: difference\nof: ln_L\ncompare: {{family: [{', '.join(sorted(truth.laws)[:2])}]}}\n"
            claim.write_text(f"id: pair\nclaim: They differ.\n{rule}region: {{above: 0}}\n")
            stated = look(truth.rows, load_claims(claim))
        texts += [finding(stated)] if "lower for" in finding(stated) else []
        texts += [text for text in summary(stated) if "They differ" in text and "lower for" in text]
    return texts


def check(seeds: range) -> None:
    """Hold every sentence of each table against its law."""
    inside = []
    for seed in seeds:
        truth = table(seed)
        sentence = said(truth)
        assert not false(sentence, truth), (seed, truth.kind, sentence)
        wrong = [text for text in page(truth) if is_false(text, truth)]
        assert not wrong, (seed, truth.kind, truth.laws, wrong)
        step = 0.005 if "to the power" in sentence else 0.05
        inside += [low - step <= expected <= high + step for _, _, low, high, expected in numbers(sentence, truth)]
    assert np.mean(inside) > 0.9, (np.mean(inside), len(inside))


@pytest.mark.slow
def test_every_sentence_of_a_page_is_true_of_its_table() -> None:
    check(range(12))


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_every_sentence_is_true_of_500_tables() -> None:
    check(range(500))


def lie(sentence: str, rng: np.random.Generator) -> str:
    """Make a sentence false: a comparison turned round, else a number doubled."""
    if turned := re.search(r"lower for (\w+) than for (\w+)", sentence):
        return sentence.replace(turned[0], f"lower for {turned[2]} than for {turned[1]}")
    values = list(re.finditer(rf"(?<![\w^.·(])({VALUE})(?! ?%? (interval|bands?|decades))", sentence))
    values = [m for m in values if not sentence[: m.start()].endswith(("to ", "for ")) and value(m[1]) > 0]
    chosen = values[int(rng.integers(len(values)))]
    return f"{sentence[: chosen.start()]}{2 * value(chosen[1]) + 0.1:.4g}{sentence[chosen.end() :]}"


@pytest.mark.slow
def test_planted_false_sentences_are_caught() -> None:
    rng, planted, missed = np.random.default_rng(26), 0, []
    for seed in range(100, 105):
        truth = table(seed)
        texts = [text for text in page(truth) if not is_false(text, truth) and re.search(r"\d", text)]
        for at in rng.permutation(len(texts))[:4]:
            planted += 1
            told = lie(texts[at], rng)
            assert told != texts[at]
            missed += [] if is_false(told, truth) else [(texts[at], told)]
    assert planted == 20
    assert len(missed) <= 1, missed


def test_every_sentence_of_a_pair_names_its_direction() -> None:
    pair = Pair("gconv", "transformer")
    assert listing()  # which loads them all
    for quantity in QUANTITIES.values():
        if "{lower}" not in quantity.wording and "{higher}" not in quantity.wording and quantity.wording:
            continue
        words = {"of": "L", "law": "power", "axis": "D", "against": "N", "reach": "L = 2"}
        one, other = (quantity.sentence("0.0141", x, pair, **words) for x in (-0.0141, 0.0141))
        assert "0.0141" in one
        assert one != other, one
        swapped = other.replace("gconv", "X").replace("transformer", "gconv").replace("X", "transformer")
        assert one == swapped, (one, other)
        # the first is the lower where the value is below 0: a loss, or an exponent, lower for it than for the other
        assert one.index("gconv") < one.index("transformer"), one
