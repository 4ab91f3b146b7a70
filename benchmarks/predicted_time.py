"""Times that plan predicts beside times that runs take: families at two sizes.

    python benchmarks/predicted_time.py --families transformer,mlp --seconds 10

Each prediction and each run has a process of its own, as with plan and train. All seconds are those of the processor,
on one thread, so that what else runs there counts little; a run is timed from its config to its record, without the
imports of its process, which a sweep makes once. Asked for: within 20 %.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import FrozenConfig, freeze
from isoflop.scaling.recipe.rules import Budget
from isoflop.sweeps import workers

FAMILIES = "transformer,mlp,lstm,ssm,mingru,cnn"
WIDTHS = "16,64"


def config(*overrides: str) -> FrozenConfig:
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return resolve(cfg)


def predict(given: FrozenConfig) -> tuple[dict[str, float], int, float]:
    """Return the time of a step, of everything else, the targets of a step, and the time of measuring [s]."""
    from isoflop.scaling import estimate
    from isoflop.scaling.assemble import assemble

    estimate.time = SimpleNamespace(monotonic=time.process_time)  # type: ignore[assignment]
    began = time.process_time()
    measured = estimate.time_step(given)
    return measured, assemble(given).step_targets, time.process_time() - began


def make(given: FrozenConfig) -> float:
    """Return the time of a run [s]."""
    from isoflop.scaling.run import run_one

    with tempfile.TemporaryDirectory() as folder:
        freeze(given, Path(folder))
        began = time.process_time()
        (row,) = run_one(Path(folder))
        assert row["status"] == "ok", row
        return time.process_time() - began


def call(function: Any, *arguments: Any) -> Any:
    return workers.call(f"predicted_time:{function.__name__}", *arguments)


def main() -> int:
    parser = argparse.ArgumentParser(description="Predicted and real times of runs.")
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--widths", default=WIDTHS)
    parser.add_argument("--seconds", type=float, default=10, help="about how long a run is to take")
    given = parser.parse_args()
    print("| family, width | steps | predicted [s] | real [s] | predicted over real | finding out took [s] |")
    print("|---|--:|--:|--:|--:|--:|")
    for family in given.families.split(","):
        for width in given.widths.split(","):
            asked = config(f"family={family}", f"family.width={width}", "trainer.accelerator=cpu", "budget.D=1e5")
            measured, targets, took = call(predict, asked)
            steps = max(1, round((given.seconds - measured["rest_s"]) / measured["step_s"]))
            predicted = steps * measured["step_s"] + measured["rest_s"]
            real = call(make, replace(asked, budget=Budget(D=steps * targets)))
            line = f"{steps} | {predicted:.2f} | {real:.2f} | {predicted / real:.2f} | {took:.1f}"
            print(f"| `{family}` {width} | {line} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
