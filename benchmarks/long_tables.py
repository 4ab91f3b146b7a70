"""CPU time and memory of fit, judge, frontier, report on a table of 1e5 rows and 200 columns, a process each.

    python benchmarks/long_tables.py                             # this checkout
    python benchmarks/long_tables.py --only report --rows 10000 --columns 12
    python benchmarks/long_tables.py --against /path/to/another  # and another checkout, in the same run
    python benchmarks/long_tables.py --only report --table studies/demo/runs.csv

Asked for on two cores: fit --by family 15 s, judge 30 s, frontier 20 s and 800 MB; of 10,000 rows report 5 s. A process
is stopped at --cap seconds of CPU time. With --repeats a first call, which compiles
the modules, does not count.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

CASES = {
    "fit --by family": (["fit", "{}", "--by", "family", "--json"], 15),
    "judge": (["judge", "{}", "--json"], 30),
    "frontier": (["frontier", "{}", "--json"], 20),
    "frontier --by family": (["frontier", "{}", "--by", "family", "--json"], 20),
    "report": (["report", "{}", "-o", "{}.report"], 5),
}


def long_table(rows: int, columns: int, families: int, seed: int = 0, grid: bool = True) -> pd.DataFrame:
    """Return runs of several families about one law, on a grid or scattered, with columns of all kinds."""
    rng = np.random.default_rng(seed)
    if grid:
        N, D = rng.choice(np.geomspace(1e6, 1e9, 10), rows), rng.choice(np.geomspace(1e7, 1e11, 12), rows)
    else:
        N, D = np.exp(rng.uniform(*np.log([1e6, 1e9]), rows)), np.exp(rng.uniform(*np.log([1e7, 1e11]), rows))
    L = (1.7 + 400 * N**-0.34 + 410 * D**-0.28) * np.exp(0.01 * rng.normal(size=rows))
    known = {
        "run_id": [f"r{i}" for i in range(rows)], "family": rng.choice([f"f{i}" for i in range(families)], rows),
        "data": "text", "seed": rng.integers(0, 3, rows), "status": "ok", "N": N, "D": D, "C": 6 * N * D, "L": L,
    }  # fmt: skip
    words = np.array(["a", "b", "c"])
    more = {
        f"x{i}": rng.choice(words, rows) if i % 10 == 0 else rng.normal(size=rows).round(6)
        for i in range(columns - len(known))
    }
    return pd.DataFrame(known | more)


def measure(arguments: Sequence[str], checkout: Path, cap: int) -> tuple[float, float, str]:
    """Return CPU seconds, peak memory [MB] and the exit of a process of the verb."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (cap, cap))

    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout), "PYTHONWARNINGS": "ignore"}
    env |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": tempfile.gettempdir() + "/isoflop-compiled"}
    command = [sys.executable, "-m", "isoflop.analysis", *arguments]
    process = subprocess.Popen(
        command, env=env, cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limit
    )
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    ended = "done" if process.returncode == 0 else f"stopped at {cap} s" if process.returncode < 0 else "failed"
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, ended


def main() -> None:
    """Print a line for each verb and checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--families", type=int, default=8)
    parser.add_argument("--table", type=Path, help="a CSV in the place of a table that is made")
    parser.add_argument("--repeats", type=int, default=1, help="calls of each, after a first one; the median counts")
    parser.add_argument("--anywhere", action="store_true", help="sizes and data everywhere instead of on a grid")
    parser.add_argument("--cap", type=int, default=120)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        made = long_table(given.rows, given.columns, given.families, grid=not given.anywhere)
        table = made if given.table is None else pd.read_csv(given.table)
        table.to_csv(path, index=False)
        print(f"{len(table)} rows, {len(table.columns)} columns, {path.stat().st_size / 1e6:.1f} MB")
        for checkout in filter(None, [here, given.against]):
            for name, (arguments, asked) in CASES.items():
                if given.only not in name:
                    continue
                words = [a.format(path) for a in arguments]
                calls = [measure(words, checkout, given.cap) for _ in range(given.repeats + (given.repeats > 1))]
                seconds, memory, ended = sorted(calls[-given.repeats :])[given.repeats // 2]
                print(
                    f"{checkout.name:8} {name:20} {seconds:6.1f} CPU s (asked {asked}) {memory:6.0f} MB  {ended}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
