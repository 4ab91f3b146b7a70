"""A forecast judged: its score on the runs that were made since, and whether it came first.

print(judge_forecast("forecast.json", runs))      # UserError where it was changed, or no run was made since
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoflop.analysis.claims.provenance import changed_since, committed
from isoflop.analysis.holdout.forecast import Forecast, load_forecast
from isoflop.analysis.holdout.outcome import ForecastScore, score_forecast
from isoflop.analysis.runs.read import read_runs
from isoflop.analysis.runs.runs import Runs, RunsLike


@dataclass(frozen=True)
class JudgedForecast:
    """A forecast, what came of it, and what git says of its date."""

    file: Path
    """The file that it was read from."""
    forecast: Forecast
    """What was written down."""
    score: ForecastScore
    """What came of it."""
    first: bool | None
    """Whether it stood before the runs that it is scored by; None where git cannot tell."""
    provenance: str
    """The same in words."""

    def to_json(self) -> dict[str, Any]:
        """Return the document of `isoflop judge --forecast --json`."""
        about = {"file": str(self.file), "digest": self.forecast.digest, "made": self.forecast.made}
        return about | {"first": self.first, "provenance": self.provenance} | self.score.to_json()

    def __str__(self) -> str:
        about = f"{self.file}: {self.forecast.law}, made {self.forecast.made}, digest {self.forecast.digest[:12]}"
        return f"{about}\n{self.score}\n{self.provenance}"


def runs_for(path: str | Path, runs: str | Path) -> Runs:
    """Return a table of runs, its columns named as in the table that the forecast was made from."""
    names = load_forecast(path).settings.get("columns", {})
    return read_runs(runs, columns=names or None)


def judge_forecast(path: str | Path, runs: RunsLike) -> JudgedForecast:
    """Score the forecast of a file on the runs at its points; UserError where there are none, or it was changed."""

    path = Path(path)
    forecast = load_forecast(path)
    score = score_forecast(forecast, runs)
    changed, sentence = changed_since(path, score.runs, "forecast")
    since = committed(path) or "not committed as it is now, so its date is only what it says itself"
    return JudgedForecast(path, forecast, score, None if changed is None else not changed, f"{sentence}; it is {since}")
