"""Tell whether a run keeps to what was forecast of it, while it goes on.

The law of the smaller runs' curves gives the shape (curves.py), the run's own past the level (filter.py).

    follow(load_forecast("forecast.json"), curve, {}).since     # None: inside its band
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from isoflop import record
from isoflop.analysis.holdout.forecast import Forecast
from isoflop.analysis.holdout.watching.curves import BURN_IN, departure, foreseen, looks_of, to_the_end
from isoflop.analysis.holdout.watching.filter import FAULT, LOOKS, Drift, Filter, State
from isoflop.errors import UserError
from isoflop.files import records
from isoflop.wording import percent

# the share of a run within which a fault is to be found
WITHIN = 0.02


@dataclass(frozen=True)
class Watched:
    """A run beside what was foreseen of it."""

    looks: pd.DataFrame
    """A row for each look: D, step, L, the band low to high, and evidence, the odds of a fault so far."""
    since: int | None
    """The look at which the run left its band; None while it is inside."""
    change: float
    """By how much it did, in ln L."""
    visible: float
    """The least fault, in ln L, that would be found within WITHIN of the run."""
    end: tuple[float, float] | None
    """ln of the loss at the end: its mean and standard deviation; None where what its rate does was not learnt."""
    place: Mapping[str, Any]
    """The point of the forecast, as its file has it."""
    schedule: str = ""
    """The learning rate that the band supposes, in words, where that is not what was logged."""
    unlike: float | None = None
    """The step from which on the rate is none of the smaller runs', before any alarm; None while it is one."""
    loss: str = ""
    """The column of the log that is L here; the end is that of the forecast's table."""

    @property
    def state(self) -> str:
        """Return inside, outside, or unclear where the rate may be what moved the loss."""
        return "inside" if self.since is None else "outside" if self.unlike is None else "unclear"

    def to_json(self, below: float | None = None) -> dict[str, Any]:
        """Return the document of `isoflop watch --json`."""
        looks, names = records(self.looks), ("low", "value", "high")
        end = self.end and np.exp(self.end[0] + self.end[1] * norm.ppf([0.05, 0.5, 0.95])).tolist()
        return {
            "state": self.state,
            "unlike": self.unlike,
            "loss": self.loss,
            "since": None if self.since is None else looks[self.since],
            "change": self.change,
            "visible": self.visible,
            "end": end and dict(zip(names, end, strict=True)),
            "below": None if below is None else {"L": below, "probability": self.below(below)},
            "point": dict(self.place),
            "looks": looks,
        }

    def text(self, below: float | None = None) -> str:
        """Return what is said in a terminal."""
        last, at, said, end = self.looks.iloc[-1], self.place["at"], self.place["L"], self.to_json()["end"]
        state = "inside its band"
        if self.since is not None:
            off, since = percent(self.change, 2, signed=True), self.looks.iloc[self.since]
            state = f"outside its band since step {since['step']:.0f} (D={since['D']:.3g}), by {off}"
            state += "" if self.unlike is None else ": a fault, or the work of its learning rate"
        seen = f"a fault of {percent(self.visible, 1)} within {WITHIN:.0%} of the run"
        hidden = f"cannot see {percent(FAULT, 0)} in this noise: {seen} is the least"
        apart = "" if not end or said["low"] <= end["value"] <= said["high"] else ": the run is heading elsewhere"
        ends = (
            f"{end['value']:.4f} ({end['low']:.4f} to {end['high']:.4f}), the L of the forecast" if end else "not known"
        )
        band = f"{last['low']:.4f} to {last['high']:.4f}"
        lines = [
            f"step {last['step']:.0f}, {last['D'] / at['D']:.0%} of D={at['D']:.3g}: {state}",
            f"  L          {last['L']:.4f} (band {band}), {self.loss or 'of the curve'}",
            f"  at the end {ends}",
            f"  forecast   {said['value']:.4f} ({said['low']:.4f} to {said['high']:.4f}){apart}",
            f"  {f'sees       {seen}' if self.visible <= FAULT else hidden}",
        ]
        lines += [f"  schedule   {self.schedule}"] if self.schedule else []
        chance = "not known" if below is None or self.end is None else f"{self.below(below):.0%}"
        lines += [] if below is None else [f"  ends below {below:g} with probability {chance}"]
        return "\n".join(lines)

    def below(self, loss: float) -> float | None:
        """Return the probability that the run ends below a loss; None where its end is not known."""
        return self.end and float(norm.cdf((np.log(loss) - self.end[0]) / self.end[1]))


def follow(forecast: Forecast, run: pd.DataFrame, place: Mapping[str, float], risk: float = 0.05) -> Watched:
    """Watch a run's curve (step, D, L, lr if logged) against a forecast's point; UserError if they do not match."""
    if forecast.target != "L" or forecast.curves is None:
        what = f"is of {forecast.target}, by {forecast.law}" if forecast.target != "L" else "holds no curves"
        raise UserError(f"the forecast {what}; write one of the loss by isoflop forecast runs.csv --curves curves.csv")
    if lost := [name for name in ("N", "D") if name not in run or run[name].isna().all()]:
        raise UserError(f"the log does not say {' and '.join(lost)}; give --set N=1e8,batch_size=64,seq_len=1024")
    learnt, point = forecast.curves, _point(forecast, place)
    entry, (N, end) = point["L"], (float(point["at"][name]) for name in ("N", "D"))
    run = run[run["D"] > 0].sort_values("D")
    if (unit := record.loss_unit(run)) != learnt["loss_unit"]:
        raise UserError(f"the log is in {unit}, the forecast in {learnt['loss_unit']}; give a log in that unit")
    if not 0.9 < run["N"].iloc[-1] / N < 1.1 or run["D"].iloc[-1] > 1.1 * end:
        log = f"N={run['N'].iloc[-1]:.4g} up to D={run['D'].iloc[-1]:.4g}"
        raise UserError(f"the log is of {log}, the forecast of N={N:.4g}, D={end:.4g}; choose another point by --at")
    if entry["low"] is None or entry["high"] is None:
        why = f" ({point['reason']})" if point["reason"] else ""
        raise UserError(f"the forecast has no interval at its point{why}; take one whose law is identified")
    rated = "rates" in learnt and "lr" in run and run["lr"].notna().any()
    run = run if rated else run.drop(columns="lr", errors="ignore")
    whole = to_the_end(run, learnt, end)
    law = foreseen(learnt, whole, N)
    looks = looks_of(run, law[:, : len(run)], end)
    if len(looks) < 2:
        raise UserError(f"the log has not passed {BURN_IN:.0%} of D={end:.4g}, from where on it is watched; look later")
    sd = np.log(entry["high"] / entry["low"]) / 2 / norm.ppf((1 + forecast.level) / 2)
    ahead = float(np.log(entry["value"]) - learnt["gap"] - law[0, -1])
    watched = watch(looks, learnt, (ahead, float(sd)), (end, *law[:, -1]), risk)
    alarmed = watched.looks["D"][watched.looks["evidence"] > 1 / risk]
    unlike = departure(run if alarmed.empty else run[run["D"] <= alarmed.iloc[0]], learnt, end)
    schedule = "" if unlike is None else f"not the smaller runs' since step {unlike:.0f}: what it does was not learnt"
    schedule = schedule if rated else "no learning rate was logged: taken to be that of the smaller runs"
    end_of = (watched.end[0] + learnt["gap"], watched.end[1]) if watched.end and unlike is None else None
    return replace(watched, end=end_of, place=point, schedule=schedule, unlike=unlike)


def _point(forecast: Forecast, place: Mapping[str, float]) -> dict[str, Any]:
    """Return the point of a forecast that lies nearest to a place; UserError where it has none near, or several."""
    fitted = [point for point in forecast.points if point["L"] and {"N", "D"} <= point["at"].keys()]
    off = [max((abs(p["at"].get(name, 0) / x - 1) for name, x in place.items()), default=0.0) for p in fitted]
    near = [p for p, far in zip(fitted, off, strict=True) if far == min(off) < 0.1]
    if len(near) != 1:
        there = "; ".join(f"N={p['at']['N']:g},D={p['at']['D']:g}" for p in fitted) or "none with N and D"
        raise UserError(f"the forecast has {len(near)} points there; choose one by --at: {there}")
    return near[0]


def watch(looks: pd.DataFrame, learnt: Mapping[str, Any], start: tuple[float, float], end: tuple[float, float, float],
          risk: float = 0.05) -> Watched:  # fmt: skip
    """Watch the looks of a run, whose chance of a false alarm is at most `risk` in all, from the level's mean and sd at
    the start to the end: D, ln L by the law, and how much of it the fall of the rate makes."""
    drift, (mean, sd), (D, predicted, effect) = Drift(**learnt["drift"]), start, end
    last, first = looks.iloc[-1], looks.iloc[0]
    # the forecast is of the end: what it says of the first look lies that far off
    distance = float(np.log(D / first["D"]))
    early = State.begun(drift, mean, sd**2).moved(drift, distance, effect - first["effect"])
    filtered = Filter(looks, drift, mean, float(np.sqrt(early.gap(effect)[1].item())))
    logs = filtered.evidence()
    alarm = next((k for k, log in enumerate(logs) if log > -np.log(risk)), None)
    since, change = (None, 0.0) if alarm is None else filtered.changed()
    levels, spreads = np.array([(at.expected, at.spread) for at in filtered.seen]).T
    # which a sound run leaves at any look with a probability of `risk`
    band, middle = -norm.ppf(risk / 2 / LOOKS) * np.sqrt(spreads), looks["predicted"] + levels
    shown = looks[["D", "step"]].assign(
        L=np.exp(looks["predicted"] + looks["gap"]),
        low=np.exp(middle - band),
        high=np.exp(middle + band),
        evidence=np.exp(np.minimum(logs, 700.0)),
    )
    ahead = max(float(np.log(D / last["D"])), 0.0), effect - last["effect"]
    level, variance = map(float, filtered.after(since).moved(drift, *ahead).gap(effect))
    # the run's own course and the forecast, each by its precision; after a fault the forecast is of another run
    if since is None:
        kept = sd**2 / (sd**2 + variance)
        level, variance = mean + kept * (level - mean), kept * variance
    visible = filtered.visible(int((looks["D"] > last["D"] - WITHIN * D).sum()), risk)
    return Watched(shown, since, change, visible, (predicted + level, float(np.sqrt(variance))), {})
