"""Calibration: exponents of theory beside those that the laboratory estimates.

    python benchmarks/known_exponents.py                    study=calibration, three minutes on two idle cores
    python benchmarks/known_exponents.py --nightly          and what takes longer, study=calibration_long
    python benchmarks/known_exponents.py --nightly --write  both, and the table of docs/evidence/known_exponents.md

Learners that are solved and not trained (oracles/) give rows of runs in the same form, which go through the same fits.
Every run is kept in --out, and the same command makes only what is missing. The exit code is 1 where an estimate does
not agree with theory.

    G1  memory of Zipfian facts, closed form        G2  the same, trained: a table on zipf, in D and in N
    G3  the spectral model, closed form; its size exponent trained: a linear readout on spectral
    G4  random features                             G5  one-pass descent on random features
    G6  neighbours on a manifold of known dimension G10 synonyms of the random hierarchy model
    G11 the permutation kernel on two irreps        G12 excess of least squares
    M   the entropy rate of a Markov chain, by every family that learns tokens
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from oracles.make import make

from isoflop.analysis.claims.known import compare_with_theory, read_known
from isoflop.analysis.intervals.estimate import Estimate
from isoflop.analysis.runs.read import read_runs
from isoflop.sweeps import study_run

DOC = Path(__file__).parents[1] / "docs/evidence/known_exponents.md"
# of two curves with so small an exponent the least absolute deviations are as small at .04 as at .11
UNCLEAR = "samples over (L - 1) d, trivial"
BEGIN, END = "<!-- by benchmarks/known_exponents.py: begin -->", "<!-- end -->"
HEAD = ["| | quantity | theory | estimate (95 % interval) | agrees |", "|---|---|--:|--:|---|"]


def line(result: dict[str, Any]) -> str:
    """Return a known answer as a row of the table."""
    estimate = Estimate(result["estimate"], result["low"], result["high"])
    agrees = {"supported": "yes", "refuted": "NO"}.get(result["verdict"], result["verdict"].replace("_", " "))
    return f"| {result['name']} | {result['title']} | {result['theory']:.3f} | {estimate} | {agrees} |"


def solved(part: str, out: Path) -> list[dict[str, Any]]:
    """Solve the oracles of a part of oracles/known.yaml in a folder, and return theory beside estimate."""
    asked = yaml.safe_load((Path(__file__).parent / "oracles" / "known.yaml").read_text())[part]
    make(out / "runs", asked["oracles"])
    results = compare_with_theory(read_runs(out / "runs"), read_known(asked["known"], "known.yaml"))
    return [result.to_json() for result in results]


def main() -> int:
    """Run the studies and print theory beside estimate; return 1 if one that is not UNCLEAR disagrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/known_exponents"))
    parser.add_argument("--nightly", action="store_true", help="what takes longer, too")
    parser.add_argument("--write", action="store_true", help="write the table into docs/evidence/known_exponents.md")
    given = parser.parse_args()
    results: list[dict[str, Any]] = []
    for name, part in (("calibration", "short"), *([("calibration_long", "long")] if given.nightly else [])):
        if study_run.run(name, given.out / name):
            return 1
        results += json.loads((given.out / name / "verdicts.json").read_text())["known"]
        results += solved(part, given.out / part)
    results.sort(key=lambda result: (len(result["name"]) == 1, int(result["name"][1:] or 0)))
    table = "\n".join([*HEAD, *map(line, results)])
    print(table)
    if given.write:
        before, rest = DOC.read_text().split(BEGIN)
        DOC.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}")
    return int(any(result["verdict"] != "supported" for result in results if result["title"] != UNCLEAR))


if __name__ == "__main__":
    sys.exit(main())
