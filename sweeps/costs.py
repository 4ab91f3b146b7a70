"""What runs would cost, asked of the left side once and remembered in the user's cache: sizes, FLOPs, memory, times.

plans = describe(configs)            # one for each config; a worker process is started for what is new
seconds(configs, plans)              # of each run, from short measurements of each family
"""

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from isoflop import files, record
from isoflop.errors import UserError
from isoflop.scaling.config import frozen, identity
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.sections import RunPlan
from isoflop.scaling.hardware import gpus, threads
from isoflop.sweeps import workers
from isoflop.wording import clock, short

# a measured speed is used for steps up to this factor larger or smaller
NEAR = 1.3
# training FLOPs of a step above which speed is carried over, not measured: a fifth of a second on a core
LARGEST_STEP = {"cpu": 1e10, "gpu": 1e12}


@lru_cache(maxsize=1)
def cache() -> Path:
    root, content = Path(frozen.__file__).parents[1], sha256()
    for path in sorted([*root.rglob("*.py"), *(root.parent / "analysis").rglob("*.py")]):
        content.update(path.read_bytes())
    return files.cache() / content.hexdigest()[:12]


def remembered(name: str) -> dict[str, Any]:
    return files.recall(cache() / name)


def remember(name: str, more: dict[str, Any], instead: bool = False) -> None:
    files.keep(cache() / name, more if instead else remembered(name) | more)


def _shape(config: FrozenConfig) -> str:
    """Return the hash of what determines a run's cost: its sources, and its config without the seed."""
    data = config.to_json()
    parts = (*identity.CHOICES, "budget", "trainer", "names")
    return identity.digest([gpus(), config.code.sources, config.round_up, *(data[part] for part in parts)])[:16]


def describe(
    configs: list[FrozenConfig], progress: Callable[[float], None] = lambda share: None
) -> list[RunPlan | UserError]:
    """Return the plan of each config (scaling.estimate.describe), or why it is refused; refusals are not remembered."""
    keys = [_shape(config) for config in configs]
    plans: dict[str, RunPlan | UserError] = {
        key: RunPlan.from_json(plan) for key, plan in remembered("costs.json").items() if key in set(keys)
    }
    new = {key: replace(config, seed=0) for key, config in zip(keys, configs, strict=True) if key not in plans}
    described = dict(zip(new, _ask(list(new.values()), progress), strict=True))
    good = {key: plan.to_json() for key, plan in described.items() if isinstance(plan, RunPlan)}
    if good:
        remember("costs.json", good)
    plans |= described
    return [plans[key] for key in keys]


def _ask(configs: list[FrozenConfig], progress: Callable[[float], None]) -> list[RunPlan | UserError]:
    """Ask about configs, those of one architecture together, in as many workers as there are cores."""
    groups: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        groups.setdefault(identity.digest([config.family, config.data]), []).append(index)
    batches = [[configs[index] for index in members] for members in groups.values()]
    plans: dict[int, RunPlan | UserError] = {}
    calls = workers.calls("isoflop.scaling.estimate:describe", [(batch,) for batch in batches])
    for members, batch in zip(groups.values(), calls, strict=True):
        plans |= dict(zip(members, batch, strict=True))
        progress(len(plans) / len(configs))
    return [plans[index] for index in range(len(configs))]


def seconds(
    configs: list[FrozenConfig], plans: list[RunPlan], progress: Callable[[float], None] = lambda share: None
) -> list[float]:
    """Return the time of each run on this machine [s], from short runs at a family's smallest and largest step:
    between them a straight line in logarithms, beyond them in proportion to its FLOPs, and no less than that of the
    smallest."""
    kinds = [_kind(config) for config in configs]
    speeds = remembered("speeds.json")
    lacking = _unmeasured(kinds, plans, speeds)
    trainers = [configs[index].trainer for index in lacking]
    cards = gpus() if any(trainer.accelerator != "cpu" for trainer in trainers) else []
    if cards and any(trainer.devices > 1 for trainer in trainers):
        cards = [",".join(cards)]
    measured = workers.calls("isoflop.scaling.estimate:time_step", [(configs[index],) for index in lacking], cards)
    for done, (index, measurement) in enumerate(zip(lacking, measured, strict=True), start=1):
        points = speeds.setdefault(kinds[index], [])
        points.append([plans[index].step_C, measurement["step_s"], measurement["rest_s"]])
        points.sort()
        progress(done / len(lacking))
    if lacking:
        remember("speeds.json", {kinds[index]: speeds[kinds[index]] for index in lacking})
    return _times(kinds, plans, speeds)


def cost_line(configs: list[FrozenConfig]) -> str:
    """Return the cost of runs as the end of a line: their FLOPs, and the time on one device if speeds are known."""
    planned = [(_kind(config), config.plan) for config in configs if config.plan]
    if not planned:
        return ""
    kinds, plans, speeds = [name for name, _ in planned], [plan for _, plan in planned], remembered("speeds.json")
    flops = f": {short(sum(plan.C for plan in plans))} FLOPs"
    if not all(name in speeds for name in kinds):
        return f"{flops}; isoflop plan says how long that takes"
    return f"{flops}, about {clock(sum(_times(kinds, plans, speeds)))} of a device"


def _times(kinds: list[str], plans: list[RunPlan], speeds: dict[str, Any]) -> list[float]:
    return [
        plan.steps * _step_s(plan.step_C, speeds[name]) + len(plan.marks) * _rest_s(plan.step_C, speeds[name])
        for name, plan in zip(kinds, plans, strict=True)
    ]


def _kind(config: FrozenConfig) -> str:
    """Return the hash of what a speed depends on: the machine, and a run's architecture and recipe without its size."""
    family = {k: v for k, v in config.family.items() if k not in (*record.DIALS, "lr")}
    recipe = {k: v for k, v in config.recipe.items() if k in ("batch", "precision")}
    data = {k: v for k, v in config.data.items() if k != "size"}
    machine = [platform.node(), gpus(), threads()]
    made_of = [config.code.sources, asdict(config.names), family, data, recipe, asdict(config.trainer)]
    return identity.digest([*machine, *made_of])[:16]


def _unmeasured(kinds: list[str], plans: list[RunPlan], speeds: dict[str, Any]) -> list[int]:
    """Return the configs to measure: the smallest and the largest step of each kind where no measurement is near."""
    limit, lacking = LARGEST_STEP["gpu" if gpus() else "cpu"], []
    for name in dict.fromkeys(kinds):
        members = sorted((at for at, other in enumerate(kinds) if other == name), key=lambda at: plans[at].step_C)
        small = [at for at in members if plans[at].step_C <= limit] or members[:1]
        have = [point[0] for point in speeds.get(name, [])]
        for at in dict.fromkeys((small[0], small[-1])):
            size = plans[at].step_C
            if not any(1 / NEAR <= size / other <= NEAR for other in have):
                lacking.append(at)
                have.append(size)
    return lacking


def _step_s(step_C: float, points: list[list[float]]) -> float:
    """Interpolate the time of a step from measured ones [FLOPs, s, s], ascending; a larger one takes no less."""
    slowest = accumulate((point[1] for point in points), max)
    points = [[point[0], step_s, point[2]] for point, step_s in zip(points, slowest, strict=True)]
    if step_C <= points[0][0]:
        return points[0][1]
    if step_C >= points[-1][0]:
        return points[-1][1] * step_C / points[-1][0]
    (low, fast, _), (high, slow, _) = next((a, b) for a, b in pairwise(points) if a[0] <= step_C <= b[0])
    share = math.log(step_C / low) / math.log(high / low)
    return float(fast ** (1 - share) * slow**share)


def _rest_s(step_C: float, points: list[list[float]]) -> float:
    """Return the time of everything but steps for each mark [s], start and one evaluation, as measured nearest."""
    return min(points, key=lambda point: abs(math.log(point[0] / step_C)))[2]


def unit_costs(done: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return what a step and a FLOP take [s], from steps, FLOPs and seconds, by least squares of relative errors."""
    table = np.array([work for work in done if min(work) > 0], dtype=float).reshape(-1, 3)
    each = table[:, :2] / table[:, 2:]
    if not len(each):
        return 0.0, 0.0
    scale, ones = each.max(axis=0), np.ones(len(each))
    # neither may be negative: of both together, or one alone, the best that is not
    terms = np.array([[1, 1], [1, 0], [0, 1]])
    fitted = [np.linalg.lstsq(each / scale * used, ones, rcond=None)[0] * used for used in terms]
    best = min((unit for unit in fitted if unit.min() >= 0), key=lambda unit: np.square(each / scale @ unit - 1).sum())
    return float(best[0] / scale[0]), float(best[1] / scale[1])
