"""Write docs/evidence/scaling.md and docs/finding.svg from studies/scaling.

    python benchmarks/scaling_page.py

Nothing is trained: runs.csv, forecast.json and verdicts.json of the study are read.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from answers import superseded
from pages import render

from isoflop import fit as fit_law
from isoflop import fit_groups, judge, read_runs, select
from isoflop.analysis.claims.claim import AllOf, Claim
from isoflop.analysis.claims.forecasts import judge_forecast
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.fitting.result import Fit
from isoflop.analysis.holdout.compare import compare
from isoflop.analysis.holdout.speedup import speedup
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.runs.cells import well_tuned
from isoflop.analysis.runs.rows import usable
from isoflop.errors import FitError
from isoflop.sweeps import study
from isoflop.wording import number

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "studies/scaling"
FURTHER = ROOT / "studies/scaling_further"
# D from which marks are fitted, [bytes]; a step has 1,024
FROM = (0.0, 1.2e5, 2.5e5)
LAWS = ("chinchilla", "chinchilla_tied", "kaplan", "multiplicative", "best")
REFERENCE = "transformer"
# data above which the runs were at more than the fitted compute by design
BEYOND = 3e6
# of Okabe and Ito's palette, distinguishable for colour-blind readers
BLUE, ORANGE = "#0072b2", "#d55e00"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in Markdown, all but the first column right-aligned."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def estimate(one: Estimate, digits: int = 3) -> str:
    """Return a value with its interval."""
    if one.value is None:
        return "none"
    if one.low is None or one.high is None:
        return f"{one.value:.{digits}f}, no interval"
    return f"{one.value:.{digits}f} ({one.low:.{digits}f} to {one.high:.{digits}f})"


def percent(x: float, digits: int = 1) -> str:
    """Return a share as per cent."""
    return f"{100 * x:.{digits}f} %"


def price(rows: pd.DataFrame) -> str:
    """Return what the runs cost."""
    last = rows.sort_values("D").groupby("run_id").tail(1)
    hours = float(last["wall_s"].sum()) / 3600
    return f"{len(last)} runs, {number(float(last['C'].sum()))} FLOPs, {hours:.1f} hours of training on one core"


def rates() -> str:
    """Return the best of the rates that were tried at the smallest size and at the largest but one."""
    rows = read_runs(ROOT / "studies/scaling_rates/runs.csv").frame
    lines = []
    for (family, width), part in usable(rows).groupby(["family", "width"]):
        loss = part.groupby("lr")["L"].mean().sort_index()
        best = int(loss.to_numpy().argmin())
        edge = ", an edge" if best in (0, len(loss) - 1) else ""
        lines.append((family, f"{width:g}", f"{loss.index[0]:g} to {loss.index[-1]:g}", f"{loss.index[best]:g}{edge}"))
    return table(("family", "width", "tried", "best at D = 3.2·10⁵"), lines)


def predictable(document: dict[str, Any], rows: pd.DataFrame) -> str:
    """Return the verdict of H1 for each family, and the law's error if fitted without the first marks."""
    (h1,) = [v for v in document["verdicts"] if v["id"] == "H1"]
    lines = []
    for one in h1["subjects"]:
        later = f"{100 * _at_the_largest(rows[rows['family'] == one['subject']]):+.1f} %"
        if one["statistic"] is None:
            lines.append((one["subject"], "", "", _word(one), later))
        else:
            interval = f"{percent(one['low'])} to {percent(one['high'])}"
            lines.append((one["subject"], percent(one["statistic"]), interval, _word(one), later))
    head = ("family", "error at the largest compute", "interval", "by the rule of H1", "fitted to D ≥ 250 kB")
    return table(head, lines)


def _at_the_largest(rows: pd.DataFrame) -> float:
    """Return mean ln(predicted / observed) at a family's largest compute, by the law of its other later marks."""
    largest = rows["C"] > rows["C"].max() * 0.97
    law = fit_law(rows[~largest & (rows["D"] >= FROM[-1])], interval="none")
    return float(np.log(law.predict(rows[largest]) / rows.loc[largest, "L"]).mean())


def _word(verdict: dict[str, Any]) -> str:
    return str(verdict["verdict"]).replace("_", " ")


def slopes(fits: Sequence[Fit]) -> str:
    """Return local exponents at the middle of each family's runs."""
    rows = []
    for fit in fits:
        local = fit.local()
        rows.append([fit.by["family"], *(estimate(local.estimates[f"local_exponent_{x}"]) for x in "NDC")])
    return table(("family", "in N", "in D", "in C"), rows)


def parameters(fits: Sequence[Fit]) -> str:
    """Return the parameters of Chinchilla's law and the status of each fit."""
    rows = [
        [
            fit.by["family"],
            str(fit.status).replace("_", " "),
            *(estimate(fit.params[x]) for x in ("E", "alpha", "beta")),
        ]
        for fit in fits
    ]
    return table(("family", "status", "E", "α", "β"), rows)


def laws(rows: pd.DataFrame) -> str:
    """Return the error of each law on runs that it did not see, for each family; the lowest in bold."""
    lines, found = [], {}
    for name, part in rows.groupby("family"):
        found[name] = compare(part, LAWS).table.set_index("law")["rmsle"]
    shown = [law for law in next(iter(found.values())).index if not law.startswith("last")]
    for name, errors in found.items():
        least = errors[shown].min()
        cells = (percent(errors[law]) for law in shown)
        lines.append([name, *(f"**{c}**" if errors[law] == least else c for law, c in zip(shown, cells, strict=True))])
    return table(("family", *shown), lines)


def speedups(fits: Sequence[Fit]) -> str:
    """Return how many times less compute each family needs than the reference, at the largest compute of both."""
    (reference,) = [fit for fit in fits if fit.by["family"] == REFERENCE]
    lines = []
    for fit in fits:
        if fit is reference:
            continue
        try:
            found = speedup(fit, reference)
        except FitError as error:
            lines.append([fit.by["family"], str(error), "", ""])
            continue
        by_runs = "" if found.envelope is None else f"{found.envelope:.2f}"
        lines.append([fit.by["family"], estimate(found.estimate, 2), by_runs, f"{found.loss:.3f}"])
    return table(("family", f"times less compute than the {REFERENCE}", "by the runs alone", "at the loss"), lines)


REACH = {"within the fitted compute": (0, 1), "1 to 4 times": (1, 4), "4 to 10 times": (4, 10)}


def scored_runs(path: Path, rows: pd.DataFrame, fitted: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the scored runs of a forecast, with their compute over the largest of `fitted`, and the headline."""
    judged = judge_forecast(path, rows)
    score = judged.score.rows.assign(
        **{name: judged.score.runs[name].to_numpy() for name in ("run_id", "family", "C", "D")}
    )
    score["beyond"] = score["C"] / score["family"].map(fitted.groupby("family")["C"].max())
    return score, f"{judged.score.headline}. {judged.provenance[0].upper()}{judged.provenance[1:]}.\n"


def by_reach(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the runs by how far beyond the fitted compute they are."""
    parts = {name: rows[(rows["beyond"] > low) & (rows["beyond"] <= high)] for name, (low, high) in REACH.items()}
    return {name: part for name, part in parts.items() if len(part)}


def outcomes(scored: pd.DataFrame, headline: str) -> Iterator[str]:
    """Yield the errors of a forecast: by family, and by distance beyond the fitted compute."""
    groups = by_reach(scored) | {str(name): part for name, part in scored.groupby("family")}
    lines = [
        [
            name,
            len(part),
            percent(part["error"].abs().median(), 2),
            percent(part["error"].abs().max(), 2),
            percent(part["inside"].astype(float).mean(), 0),
            percent(part["error_line"].abs().median(), 2),
        ]
        for name, part in groups.items()
    ]
    head = ("runs and marks", "count", "median error", "worst", "inside the 90 % band", "median error of a line")
    yield table(head, lines)
    yield f"Over all: {headline}"


def by_data(scored: pd.DataFrame) -> str:
    """Return the mean error of the forecast at each amount of data."""
    means = scored.groupby(scored["D"].map(lambda D: f"{D / 1000:,.0f} kB"), sort=False)["error"].mean()
    return table(("D", *means.index), [("mean error", *(f"{100 * e:+.1f} %" for e in means))])


def without_first_marks(rows: pd.DataFrame, larger: pd.DataFrame) -> str:
    """Return errors on the larger runs of laws fitted to the smaller ones, without more and more early marks."""
    smaller, lines = rows[~rows["run_id"].isin(larger["run_id"])], []
    later = rows[rows["run_id"].isin(larger["run_id"]) & (rows["D"] >= FROM[-1])]
    for law in ("chinchilla", "multiplicative", "kaplan"):
        for least in FROM:
            errors = []
            for name, part in smaller[smaller["D"] >= least].groupby("family"):
                there = later[later["family"] == name]
                found = np.log(fit_law(part, law, interval="none").predict(there) / there["L"])
                errors.append(pd.DataFrame({"error": found, "beyond": there["C"] / part["C"].max()}))
            cells = [
                f"{percent(part['error'].abs().median())} ({100 * part['error'].mean():+.1f} %)"
                for part in by_reach(pd.concat(errors)).values()
            ]
            lines.append((law, "all" if not least else f"D ≥ {least / 1000:.0f} kB", *cells))
    return table(("law", "marks fitted", *REACH), lines)


def further(rows: pd.DataFrame) -> Iterator[str]:
    """Yield the errors of the forecast that was made without the first marks."""
    fitted = select(rows, "D >= 2.5e5 and N <= 1e5")
    yield from outcomes(*scored_runs(FURTHER / study.FORECAST, read_runs(FURTHER / "runs.csv"), fitted))


def seeds(rows: pd.DataFrame, document: dict[str, Any]) -> str:
    """Return the decided verdicts that change without the runs of one seed."""
    claims = [needing_no_seeds(claim) for claim in study.read("scaling").load_claims()]
    claims = [claim for claim in claims if claim.id not in superseded(ROOT / "studies")]
    whole = {(v["id"], s["subject"]): _word(s) for v in document["verdicts"] for s in v["subjects"]}
    lines = []
    of_all = set.intersection(*(set(part["seed"]) for _, part in rows.groupby("family")))
    for seed in sorted(of_all - {0}):  # all sizes have that one
        for verdict in judge(rows[rows["seed"] != seed], claims):
            for one in verdict.to_json()["subjects"]:
                before, after = whole.get((verdict.id, one["subject"])), _word(one)
                if before != after and {before, after} & {"supported", "refuted"}:
                    lines.append((verdict.id, one["subject"], f"{seed:g}", before, after))
    if not lines:
        return "None.\n"
    changes = pd.DataFrame(lines, columns=["claim", "of", "without seed", "was", "is"])
    together = changes.groupby(["claim", "without seed", "was", "is"], sort=False)["of"].agg(_few).reset_index()
    return table([*map(str, together)], together.to_numpy().tolist())


def _few(names: pd.Series) -> str:
    """Return the names where they fit in a cell, else their number."""
    return ", ".join(names) if len(names) < 6 else f"{len(names)} contrasts"


def needing_no_seeds(claim: Claim) -> Claim:
    """Return a claim that needs no number of seeds."""
    rule = claim.rule
    if isinstance(rule, AllOf):
        rule = replace(rule, rules=tuple(map(_needing_no_seeds, rule.rules)))
    elif rule is not None:
        rule = _needing_no_seeds(rule)
    return replace(claim, rule=rule, given=tuple(map(_needing_no_seeds, claim.given)))


def _needing_no_seeds(rule: Rule) -> Rule:
    return replace(rule, needs=replace(rule.needs, seeds=None))


def page() -> str:
    """Return the page as Markdown."""
    rows = read_runs(FOLDER / "runs.csv").frame
    document = json.loads((FOLDER / "verdicts.json").read_text(encoding="utf-8"))
    best = well_tuned(usable(rows))
    additive, product = (fit_groups(best, law, by=["family"]) for law in ("chinchilla", "multiplicative"))
    smaller = rows[~rows["run_id"].isin(judge_forecast(FOLDER / study.FORECAST, rows).score.runs["run_id"])]
    scored, headline = scored_runs(FOLDER / study.FORECAST, rows, smaller)
    return render(
        "scaling",
        price=price(rows),
        forecast="\n".join(outcomes(scored, headline)),
        by_data=by_data(scored),
        without_first_marks=without_first_marks(best, scored),
        further="\n".join(further(rows)),
        predictable=predictable(document, best),
        laws=laws(best),
        slopes=slopes(product),
        parameters=parameters(additive),
        speedups=speedups(product),
        others=others(document),
        seeds=seeds(rows, document),
        rates=rates(),
    )


def others(document: dict[str, Any]) -> str:
    """Return the verdicts of the claims that are not H1."""
    gone = superseded(ROOT / "studies")
    of = [v for v in document["verdicts"] if v["id"] != "H1"]
    rows = [(v["id"], v["claim"], "withdrawn" if v["id"] in gone else _word(v)) for v in of]
    return table(("claim", "sentence", "verdict"), rows)


def picture(path: Path, rows: pd.DataFrame) -> alt.FacetChart:
    """Return the figure of each family's forecast band for its largest size, and the losses of the runs."""
    judged = judge_forecast(path, rows)
    said = pd.DataFrame([point["by"] | point["place"] | point["L"] for point in judged.forecast.points])
    came = judged.score.runs[["family", "N", "D", "L"]].assign(value=np.nan, low=np.nan, high=np.nan)
    both = pd.concat([said.assign(L=np.nan), came])
    both["beyond"] = both["D"] > BEYOND
    log = alt.Scale(type="log", nice=False)
    x = alt.X("D:Q", title="training data, D [bytes]", scale=log, axis=alt.Axis(values=[1e5, 1e6], format="~s"))
    y_axis = alt.Axis(values=[1.2, 1.5, 2, 2.5, 3])
    y = alt.Y(
        "low:Q", title="loss [nats per byte]", scale=alt.Scale(type="log", nice=False, domain=[1.15, 3]), axis=y_axis
    )
    near, far = "!datum.beyond && datum.value > 0", "datum.beyond && datum.value > 0"
    chart = alt.Chart(both)
    band = chart.transform_filter(near).mark_area(opacity=0.25, color=BLUE).encode(x, y, alt.Y2("high:Q"))
    line = chart.transform_filter(near).mark_line(color=BLUE, strokeWidth=1.5).encode(x, alt.Y("value:Q"))
    rule = chart.transform_filter(far).mark_rule(color=BLUE, opacity=0.4, strokeWidth=5).encode(x, y, alt.Y2("high:Q"))
    dots = chart.transform_filter("datum.L > 0").mark_point(color=ORANGE, size=18, filled=True, opacity=1)
    layers = alt.layer(band, line, rule, dots.encode(x, alt.Y("L:Q"))).properties(width=150, height=130)
    facets = layers.facet(alt.Facet("family:N", title=None, header=alt.Header(labelFontWeight="bold")), columns=4)
    return facets.properties(title="Blue: forecast, with 90 % band, before the runs; orange: the runs")


def main() -> None:
    """Write the page and the figure."""
    (ROOT / "docs/evidence/scaling.md").write_text(page(), encoding="utf-8")
    rows, forecast = read_runs(FOLDER / "runs.csv").frame, FOLDER / study.FORECAST
    picture(forecast, rows).save(ROOT / "docs/finding.svg")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
