"""Whether a sentence of a page is true of its table: checks that import nothing of isoflop, and so share no error.

A Truth is a table, the laws that its losses were drawn from, and what else was measured. Each number of a sentence is
held against the rows or against the laws; a sentence that no rule knows is false.

    is_false("The lowest loss is 1.87 nats per target (gru). These runs ...", truth)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

AXES = {"size": "N", "data": "D", "compute": "C"}
NUMBER = r"[−\d.]+"
FALLS = re.compile(rf"({NUMBER}) % \(95 % interval ({NUMBER}) % to ({NUMBER}) %[^)]*\)(?: for (\w+))?")
POWER = re.compile(rf"to the power|({NUMBER}) \(95 % interval ({NUMBER}) to ({NUMBER})[^)]*\)(?: for (\w+))?")
# the power of the loss on other data that tables with probes measure, and the noise of what they measure
OTHER_LOSS, PROBE_NOISE = 1.1, 0.02


@dataclass(frozen=True)
class Truth:
    """A table, and what is true of each of its families: slopes of -ln L at its middle, and the exponent of N_opt."""

    rows: pd.DataFrame
    kind: str
    slopes: dict[str, dict[str, float]]
    power: dict[str, float]
    laws: dict[str, tuple[float, ...]]
    """E, the exponents alpha and beta, the loss above E at n by size and at d by data, n, d, and the noise drawn."""
    forecast: dict[str, Any] = field(default_factory=dict)
    """The document of a forecast that was made from the runs of less compute."""
    profiles: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What a probe measured along positions, a row for each run and position."""

    def of(self, family: str) -> pd.DataFrame:
        """Return the rows of a family."""
        rows: pd.DataFrame = self.rows[self.rows["family"] == family]
        return rows

    def terms(self, family: str, N: Any, D: Any) -> tuple[Any, Any, Any]:
        """Return the parts of the loss of a law: E, what size lacks, and what data lack."""
        E, alpha, beta, a, b, n, d, _ = self.laws[family]
        return E, a * (N / n) ** -alpha, b * (D / d) ** -beta


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


VALUE = r"[−-]?(?:[\d.]+·)?10⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+|[−-]?\d+\.?\d*(?:e[+-]\d+)?"
SERIES = re.compile(rf"(\w+)(?: by the (minima|law))?: ({VALUE}) at ({VALUE}) to ({VALUE}) at ({VALUE})")
BOUNDED = re.compile(rf"(\w+)(?: (E|alpha|beta|A|B))? ({VALUE}) \(({VALUE}) to ({VALUE})\)")
SHARES = re.compile(r"(\w+) ([\d.]+) %")


def value(text: str) -> float:
    """Read a number as the page writes it: 5.7·10¹⁷."""
    text = text.replace("−", "-").rstrip(".")
    if "10" in text and text[-1] in "⁰¹²³⁴⁵⁶⁷⁸⁹":
        factor, _, power = text.rpartition("10")
        return float(factor.rstrip("·") or 1) * 10.0 ** int(
            power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        )
    return float(text)


def near(text: str, expected: float, factor: float = 1.06) -> bool:
    """Return whether a number, written in two digits or more, is the expected one."""
    return bool(expected / factor <= value(text) <= expected * factor)


def as_written(text: str, expected: float) -> bool:
    """Return whether a number is the expected one to half of its last digit."""
    return abs(value(text) - expected) <= 0.501 * 10.0 ** -len(text.partition(".")[2])


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
        lowest = "lowest losses" in text
        rows = truth.of(family).groupby(["N", "D"])[["C", "L"]].mean().reset_index()  # the mean over seeds
        ends = rows.sort_values(axis[1]).groupby(np.log(rows[axis[1]]).round(6))["L"]
        first, last = (ends.min().iloc[0], rows["L"].min()) if lowest else (ends.mean().iloc[0], ends.mean().iloc[-1])
        x_last = rows.loc[rows["L"].idxmin(), axis[1]] if lowest else rows[axis[1]].max()
        if not (near(x, rows[axis[1]].min()) and near(x_end, x_last)):
            return True
        if "above the fitted E" in text:
            above, above_end = value(y), value(y_end)  # E is not below 0
            if not 1.02 * first >= above > above_end > 0 or above_end > rows["L"].max() - truth.laws[family][0]:
                return True
        elif not (near(y, first, 1.006) and near(y_end, last, 1.006)):
            return True
    return False


def reach_of_size(truth: Truth, family: str, C: float) -> float:
    """Return how far noise takes ln of the best size of a budget, by a parabola of ln L of its runs; 0 of none.

    Of the sizes near the best one that was tried, of which there are at least four. The largest of 4,000 draws: a
    vertex is a ratio, whose errors have long tails.
    """
    rows = truth.of(family)
    rows = rows[np.abs(np.log(rows["C"] / C)) < 0.05]
    if rows.empty:
        return 0.0
    x = np.log(rows["N"].to_numpy(float))
    gap = np.abs(x - x[rows["L"].argmin()])
    if len(set(x)) < 4:  # too few for a minimum
        return 0.0
    x = x[gap <= 1.0001 * max(np.log(4), np.unique(gap)[3:4].max(initial=0.0))]
    E, size, data = truth.terms(family, np.exp(x), C / 6 / np.exp(x))
    noise = truth.laws[family][-1] * np.random.default_rng(0).standard_normal((len(x), 4000))
    bend, slope, _ = np.polyfit(x - x.mean(), np.log(E + size + data)[:, None] + noise, 2)
    vertex = x.mean() - slope / (2 * bend)
    inner = vertex[(bend > 0) & (x.min() < vertex) & (vertex < x.max())]  # no other is a minimum to the page
    return float(np.abs(inner - np.log(best_split(truth, family, C)[0])).max(initial=0.0))


def error_of_split(truth: Truth, family: str, C: float) -> float:
    """Return the standard error of ln D/N of a law at a compute, by Fisher's information on its runs."""
    _, alpha, beta, *_, n, d, noise = truth.laws[family]
    rows, N = truth.of(family), best_split(truth, family, C)[0]
    E, size, data = truth.terms(family, *(rows[c].to_numpy(float) for c in ("N", "D")))
    x, y = np.log(rows["N"] / n).to_numpy(float), np.log(rows["D"] / d).to_numpy(float)
    slopes = np.stack([np.ones_like(x), size, -size * x, data, -data * y]) / (E + size + data)
    # alpha a (N/n)^-alpha = beta b (D/d)^-beta at the best split, at which N D does not move
    at_x, at_y = np.log(N / n), np.log(C / 6 / N / d)
    gradient = np.array([0, -1, at_x - 1 / alpha, 1, 1 / beta - at_y]) * 2 / (alpha + beta)
    return noise * float(np.sqrt(gradient @ np.linalg.pinv(slopes @ slopes.T) @ gradient))


def wrong_minima(text: str, truth: Truth) -> bool:
    """Check the best size of each budget; that there is none where the best lies beyond the sizes of most budgets."""
    if text.endswith("Minima of the loss: none."):
        return any(inner_minima(truth, family) >= 3 for family in truth.laws)
    for part in text.split(";"):
        named = re.search(r"\b(gru|vit|ssm|elm), N", part)
        if named is None or named[1] not in truth.laws:
            return True
        for N, C in re.findall(rf"N ({VALUE}) at C ({VALUE})", part):
            tolerance = np.exp(reach_of_size(truth, named[1], value(C)) + 0.2)  # a parabola is not the curve
            if not near(N, best_split(truth, named[1], value(C))[0], tolerance):
                return True
    return False


def inner_minima(truth: Truth, family: str) -> int:
    """Return at how many budgets of four sizes the best size lies well among them."""
    budgets = truth.of(family).groupby(np.log(truth.rows["C"]).round(1))
    inner = [len(b) >= 4 and 1.5 * b["N"].min() < best_split(truth, family, C)[0] < b["N"].max() / 1.5
             for b in (b for _, b in budgets) for C in [float(b["C"].mean())]]  # fmt: skip
    return sum(inner)


def wrong_splits(text: str, truth: Truth) -> bool:
    """Check D/N of the best split, by the minima or by the law, at both ends."""
    found = SERIES.findall(text)
    for family, how, *told in found:
        if family not in truth.laws:
            return True
        for split, C in zip(told[::2], map(value, told[1::2]), strict=True):
            law = how == "law" or not how
            levels = truth.of(family)["C"]
            if not any(near(f"{C:g}", x, 1.03) for x in ((levels.min(), levels.max()) if law else levels)):
                return True
            error = error_of_split(truth, family, C) if law else reach_of_size(truth, family, C) / 2
            if not near(split, best_split(truth, family, C)[1], np.exp(4 * error + (0.1 if law else 0.4))):
                return True
    return not found


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


def least_residual(truth: Truth, family: str) -> float:
    """Return the root mean square of ln L [%] that least squares leaves: no fit of the same law leaves less."""
    E, alpha, beta, a, b, n, d, _ = truth.laws[family]
    rows = truth.of(family)
    x, y, L = (rows[column].to_numpy(float) / scale for column, scale in (("N", n), ("D", d), ("L", 1.0)))
    # on an axis what size lacks is constant; on a ladder one power of C stands for two, and C, N and D grow together
    start = {"axis": (E + a, b, beta), "ladder": (E, a + b, (alpha + beta) / 2)}
    law = start.get(truth.kind, (E, b, beta, a, alpha))

    def misfit(p: np.ndarray) -> Any:
        return np.log((p[0] + p[1] * y ** -p[2] + (p[3] * x ** -p[4] if len(p) > 3 else 0)) / L)

    return 100 * float(np.sqrt((least_squares(misfit, law, bounds=(0, np.inf)).fun ** 2).mean()))


def wrong_shares(text: str, truth: Truth) -> bool:
    found = SHARES.findall(text)
    form = 0.15 if truth.kind == "ladder" else 0.01  # one power of C stands there for two
    return {family for family, _ in found} != {*truth.laws} or any(
        not least_residual(truth, family) - 0.006 <= float(share) <= 130 * truth.laws[family][-1] + form
        for family, share in found
    )


def wrong_lowest(text: str, truth: Truth) -> bool:
    found = re.search(r"in nats per target; lower is better, and the lowest is ([\d.]+)\.", text)
    return found is None or not near(found[1], truth.rows["L"].min(), 1.006)


def identified(truth: Truth, family: str) -> bool:
    """Return whether the runs of a family clearly tell the parameters of its law apart, by Fisher's information.

    A page calls an exponent open where a third or three times of it fits as well; clear is a standard error of .1 of
    ln of every exponent, eleven of which make that factor.
    """
    _, alpha, beta, *_, noise = truth.laws[family]
    rows = truth.of(family)
    N, D = (rows[c].to_numpy(float) for c in ("N", "D"))
    E, size, data = truth.terms(family, N, D)
    x, y = np.log(N / np.exp(np.log(N).mean())), np.log(D / np.exp(np.log(D).mean()))
    if truth.kind == "axis":
        columns = [np.ones_like(N), data, data * beta * y]
    elif truth.kind == "ladder":
        power = (alpha + beta) / 4
        columns = [np.ones_like(N), size + data, (size + data) * power * (x + y)]
    else:
        columns = [np.ones_like(N), size, size * alpha * x, data, data * beta * y]
    relative = np.stack(columns) / (E + size + data)
    errors = noise * np.sqrt(np.diag(np.linalg.pinv(relative @ relative.T)))
    return bool(errors[2::2].max() < 0.1)


def slopes_at(truth: Truth, family: str, place: dict[str, float]) -> dict[str, set[float]]:
    """Return by how much ln L falls for each e-fold of N, D and C at a place; of C along its D/N, or the best one."""
    if {"N", "D"} <= set(place):
        N, D = place["N"], place["D"]
    elif truth.kind == "ladder":
        N = np.sqrt(place["C"] / 120)
        D = 20 * N
    else:
        N, D = 1e8, place["D"]
    _, alpha, beta, *_ = truth.laws[family]
    N_best, split = best_split(truth, family, 6 * N * D)
    found: dict[str, set[float]] = {"N": set(), "D": set(), "C": set()}
    for best, n, d in ((False, N, D), (True, N_best, split * N_best)):
        E, size, data = truth.terms(family, n, d)
        falls = alpha * size / (E + size + data), beta * data / (E + size + data)
        found["C"].add(sum(falls) / 2)
        if not best:
            found["N"].add(falls[0])
            found["D"].add(falls[1])
    return found


def wrong_open(text: str, truth: Truth) -> bool:
    """Check that parameters are open, and what is said in their stead; the losses of every table fall clearly."""
    found = re.match(r"The runs of (\w+) do not .* law; what they identify: at (.*) the loss falls (by .*)\.$", text)
    if found is None or found[1] not in truth.laws or identified(truth, found[1]):
        return True
    place = {column: value(x) for column, x in re.findall(rf"(\w)=({VALUE})", found[2])}
    slopes = slopes_at(truth, found[1], place)
    falls = re.findall(rf"by ({VALUE}) % \(({VALUE}) % to ({VALUE}) %\) for each doubling of (\w)", found[3])
    for each, low, high, axis in falls:
        half = max(value(each) - value(low), value(high) - value(each))
        off = min(abs(value(each) - 100 * (1 - 2.0**-slope)) for slope in slopes[axis])
        if not value(low) <= value(each) <= value(high) or off > 4 * half + 0.1:
            return True
    return not falls


def pooled(truth: Truth) -> dict[str, float]:
    """Return the standard deviation of ln L over seeds of each family [%]; none where no place has two runs."""
    logs = np.log(truth.rows["L"])
    cells = logs.groupby([truth.rows[c] for c in ("family", "N", "D")])
    squares = (logs - cells.transform("mean")) ** 2
    free = cells.transform(lambda part: (len(part) - 1) / len(part))
    by = truth.rows["family"]
    return {name: 100 * float(np.sqrt(s / df)) for (name, s), df in zip(squares.groupby(by).sum().items(),
            free.groupby(by).sum(), strict=True) if df > 0}  # fmt: skip


def wrong_seeds(text: str, truth: Truth) -> bool:
    """Check the scatter over seeds to half of the last digit that is written."""
    only = next(iter(truth.laws))
    found = dict(SHARES.findall(text))
    found = {only: next(iter(found.values()), "")} if len(truth.laws) == 1 else found
    sd = pooled(truth)
    return found.keys() != sd.keys() or not all(as_written(x, sd[name]) for name, x in found.items())


def wrong_front(text: str, truth: Truth) -> bool:
    """Check how many runs of each family no other beats in both time and loss."""
    rows = truth.rows.sort_values(["wall_s", "L"])
    front = rows[rows["L"] < rows["L"].cummin().shift(fill_value=np.inf)]
    told = {name: int(n) for name, n in re.findall(r"(\w+) (\d+)[,.]", text.partition("time: ")[2])}
    return told != front["family"].value_counts().to_dict()


def wrong_other_loss(text: str, truth: Truth) -> bool:
    x, y = np.log(truth.rows["L"]), np.log(truth.rows["L.web"])
    told = re.search(rf"over all runs: web ({VALUE})\.?$", text)
    return told is None or abs(value(told[1]) - x.cov(y) / x.var()) > 0.006


def wrong_profiles(text: str, truth: Truth) -> bool:
    found = SERIES.findall(text)
    for family, _, first, start, last, end in found:
        means = truth.profiles[truth.profiles["family"] == family].groupby("index")["value"].mean()
        ends = (value(start), value(end)) == (means.index[0], means.index[-1])
        if not ends or not near(first, means.iloc[0], 1.006) or not near(last, means.iloc[-1], 1.006):
            return True
    return {family for family, *_ in found} != {*truth.laws}


def outcomes(truth: Truth) -> pd.DataFrame:
    """Return the runs at the points of the forecast beside what its document says, by the law and by the line."""
    parts = []
    for point in truth.forecast["points"]:
        rows, told = truth.of(point["by"]["family"]), point["L"]
        for column, x in point["place"].items():
            rows = rows[np.isclose(rows[column], x, rtol=1e-6)]
        if told["value"] is not None:
            told = {"predicted": told["value"], "low": told["low"], "high": told["high"]}
            parts.append(rows.assign(line=point["naive"]["line"], **told))
    return pd.concat(parts)


def wrong_forecast(text: str, truth: Truth) -> bool:
    """Check the errors of a forecast; no history of the table says whether it came first."""
    told = re.match(
        rf"A forecast that may or may not have been made before these runs was off by ({VALUE}) % on (\d+) runs? "
        rf"\(straight line ({VALUE}) %\)\.$",
        text,
    )
    if told is None:
        return True
    made = outcomes(truth)
    law, line = (100 * np.sqrt((np.log(made[c] / made["L"]) ** 2).mean()) for c in ("predicted", "line"))
    return int(told[2]) != len(made) or not (as_written(told[1], law) and as_written(told[3], line))


def wrong_reach(text: str, truth: Truth) -> bool:
    """Check the mean error of a forecast at both ends of its reach, in times of the largest compute that was fitted."""
    made, C = outcomes(truth), truth.rows["C"]
    found = re.findall(rf"(\w+): ({VALUE}) at ({VALUE})(?: to ({VALUE}) at ({VALUE}))?", text)
    for family, *told in found:
        rows = made[made["family"] == family]
        times = (rows["C"] / C[C.lt(0.9 * C.max())].max()).round(6)
        means = (100 * np.log(rows["predicted"] / rows["L"])).groupby(times).mean()
        ends = [x for place in dict.fromkeys((0, len(means) - 1)) for x in (means.iloc[place], means.index[place])]
        if not np.allclose([value(x) for x in told if x], ends, rtol=0.006, atol=0.0006):
            return True
    return {family for family, *_ in found} != {*made["family"]}


def wrong_outcome(text: str, truth: Truth) -> bool:
    """Check predicted losses and bands against the document of the forecast."""
    made = outcomes(truth)
    found = re.findall(rf"(\w+) (?:[NDC]=\S+ ?)+ ({VALUE}) \(({VALUE}) to ({VALUE})\)", text)
    for family, *told in found:
        rows = made[made["family"] == family]
        close = [
            np.isclose(rows[c], value(x), rtol=0.006) for c, x in zip(("predicted", "low", "high"), told, strict=True)
        ]
        if not np.logical_and.reduce(close).any():
            return True
    return not found


# a verdict in a headline, or at the beginning of a sentence, and where the interval lies: inside, outside, across
WORDS = {"supported": 1, "refuted": -1, "support": 1, "refute": -1, "decide": 0}


def side(low: float, high: float, border: float, above: bool) -> set[int]:
    """Return where an interval may lie of a region; both where its rounded end is on the border."""
    near_border = 0.006 * max(abs(low), abs(high), 1e-3)
    inside, outside = (low - border, border - high) if above else (border - high, low - border)
    return {
        *({1} if inside >= -near_border else set()),
        *({-1} if outside >= -near_border else set()),
        *({0} if max(inside, outside) <= near_border else set()),
    }


def wrong_verdict(text: str, truth: Truth) -> bool:
    """Check a verdict: that its word follows from its interval, and its number from the table or the laws."""
    word = re.search(
        r"The runs (?:do not )?(support|refute|decide)|: (supported|refuted|inconclusive)\. The claim", text
    )
    if word is None:
        return True
    outcome = WORDS[word[1] or word[2]]
    if pair := re.search(rf"\((\w+) − (\w+): ({VALUE})(?: %)? to ({VALUE})(?: %)?\)", text):
        low, high = value(pair[3]), value(pair[4])
        return outcome not in side(low, high, 0.0, True) or wrong_pair(text, (pair[1], pair[2]), low, high, truth)
    single = re.search(rf"(?:is|off by) ({VALUE})(?: %)? \(({VALUE})(?: %)? to ({VALUE})(?: %)?\), for (\w+)", text)
    if single is None or single[4] not in truth.laws:
        return True
    told, low, high = map(value, single.groups()[:3])
    if not low - 0.01 * abs(told) <= told <= high + 0.01 * abs(told):
        return True
    _, alpha, beta, *_, noise = truth.laws[single[4]]
    if "worst prediction" in text:
        return (
            told > 600 * noise + 3
            or (outcome == 1 and low > 1.01)
            or (outcome == -1 and high < 0.99 and ", but " not in text)
        )
    exponent = beta if truth.kind == "axis" else alpha
    far = abs(told - exponent) > 5 * max(told - low, high - told) + 0.02 and truth.kind != "ladder"
    return far or outcome not in side(low, high, 0.3, True)


def wrong_pair(text: str, pair: tuple[str, str], low: float, high: float, truth: Truth) -> bool:
    """Check by how much, and for which of two families, a quantity is said to be lower."""
    found = re.search(rf"(\w+) (?:of \S+ )?is ({VALUE})(?: %)? lower for (\w+) than for (\w+)", text)
    if found is None or {found[3], found[4]} != {*pair} or not {*pair} <= {*truth.laws}:
        return True
    told = value(found[2]) * (1 if found[3] == pair[1] else -1)  # of the first less the second, as the interval is
    if not low - 0.01 * abs(told) <= told <= high + 0.01 * abs(told):
        return True
    logs, half = np.log(truth.rows["L"]).groupby(truth.rows["family"]), max(told - low, high - told)
    if "mean of ln_L" in text:
        one, two = (float(logs.mean()[name]) for name in pair)
        return not abs(one - two - told) < 0.006 * abs(told) + 1e-4
    at = 2 if truth.kind == "axis" else 1
    one, two = (truth.laws[name][at] for name in pair)
    return truth.kind != "ladder" and abs(one - two - told) > 5 * half + 0.02


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
    r"^The runs of \w+ do not identify": wrong_open,
    r"^(Losses of runs that differ only|Scatter of the loss over seeds)": wrong_seeds,
    r"^Loss against time": wrong_front,
    r"^Loss on other data": wrong_other_loss,
    r"^Profiles of probes": wrong_profiles,
    r"^A forecast that": wrong_forecast,
    r"^Forecast and outcome": wrong_outcome,
    r"^Error of the forecast": wrong_reach,
    r"The claim was|^The runs (do not )?(support|refute|decide)": wrong_verdict,
}


def is_false(sentence: str, truth: Truth) -> bool:
    """Return whether a sentence of the page is false; one that no rule knows is."""
    check = next((rule for start, rule in RULES.items() if re.search(start, sentence)), None)
    return check is None or bool(check(sentence, truth))
