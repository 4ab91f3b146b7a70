"""What runs would cost, asked of the left side once and remembered: sizes, FLOPs, memory, seconds per step.

    answers = described(plains)          # one for each config; a worker process is started for what is new
    seconds(plains, answers)             # of each run, from short measurements of each family, also remembered

The memory is a folder of small files under the user's cache, known by the hash of the config and of the sources of
scaling/; deleting it costs nothing but time.
"""

import json
import math
import os
import platform
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from isoflop import record
from isoflop.errors import UserError
from isoflop.scaling import frozen as config
from isoflop.scaling import identity
from isoflop.sweeps import workers as processes
from isoflop.sweeps.machine import gpus
from isoflop.wording import clock, short

Answer = dict[str, Any]
# a measured speed serves steps up to so many times larger or smaller without another
NEAR = 1.3
# training FLOPs of a step above which speed is carried over, not measured: a fifth of a second on a core
LARGEST_STEP = {"cpu": 1e10, "gpu": 1e12}


@lru_cache(maxsize=1)
def cache() -> Path:
    """The folder of what is remembered for this code."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root, content = Path(config.__file__).parent, sha256()
    for path in sorted(root.rglob("*.py")):
        content.update(path.read_bytes())
    return home / "isoflop" / content.hexdigest()[:12]


def remembered(name: str) -> dict[str, Any]:
    """What a file of the cache holds; nothing where it is not there or not whole."""
    try:
        found = json.loads((cache() / name).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(name: str, more: dict[str, Any]) -> None:
    """Add to a file of the cache; one that cannot be written is no harm."""
    try:
        record.write_text(cache() / name, json.dumps(remembered(name) | more))
    except OSError:
        return


def shape(plain: config.Config) -> str:
    """Hash of what a run's cost follows from: all but its seed and names."""
    parts = ("family", "data", "recipe", "budget", "trainer", "names")
    return identity.digest([gpus(), *(plain[part] for part in parts)])[:16]


def described(plains: list[config.Config], progress: Callable[[float], None] = lambda share: None) -> list[Answer]:
    """What the left side says of each config (scaling.estimate.describe); what is refused is asked again each time."""
    keys = [shape(plain) for plain in plains]
    known = remembered("costs.json")
    new = {key: plain | {"seed": 0} for key, plain in zip(keys, plains, strict=True) if key not in known}
    for plain in plains:
        if not isinstance(plain["seed"], int) or plain["seed"] < 0:
            raise UserError(f"seed={plain['seed']!r} is not a whole number of at least 0")
    answers = dict(zip(new, asked(list(new.values()), progress), strict=True))
    good = {key: answer for key, answer in answers.items() if "error" not in answer}
    if good:
        remember("costs.json", good)
    everything = known | answers
    return [everything[key] for key in keys]


def asked(plains: list[config.Config], progress: Callable[[float], None]) -> list[Answer]:
    """Ask about configs, those of one architecture together, in as many workers as there are cores."""
    groups: dict[str, list[int]] = {}
    for at, plain in enumerate(plains):
        groups.setdefault(identity.digest([plain["family"], plain["data"]]), []).append(at)
    batches = [[plains[at] for at in members] for members in groups.values()]
    found: list[Answer] = [{} for _ in plains]
    done = 0
    calls = processes.calls("isoflop.scaling.estimate:describe", [(batch,) for batch in batches])
    for members, answers in zip(groups.values(), calls, strict=True):
        for at, answer in zip(members, answers, strict=True):
            found[at] = answer
        done += len(members)
        progress(done / len(plains))
    return found


def seconds(
    plains: list[config.Config], answers: list[Answer], progress: Callable[[float], None] = lambda share: None
) -> list[float]:
    """Time that each run would take on this machine [s], from short runs at the smallest and largest step of a family.

    Between them the time of a step is a straight line in logarithms; beyond them it is in proportion to its FLOPs, and
    no less than that of the smallest.
    """
    kinds = [kind(plain) for plain in plains]
    speeds = remembered("speeds.json")
    lacking = unmeasured(kinds, answers, speeds)
    measured = processes.calls("isoflop.scaling.estimate:time_step", [(plains[at],) for at in lacking])
    for done, (at, found) in enumerate(zip(lacking, measured, strict=True), start=1):
        points = speeds.setdefault(kinds[at], [])
        points.append([answers[at]["step_C"], found["step_s"], found["rest_s"]])
        points.sort()
        progress(done / len(lacking))
    if lacking:
        remember("speeds.json", {kinds[at]: speeds[kinds[at]] for at in lacking})
    return reckoned(kinds, answers, speeds)


def forecast(plains: list[config.Config]) -> str:
    """What runs come to, as the end of a line: their FLOPs, and the time on one device where speeds are known."""
    if not plains:
        return ""
    answers, kinds, speeds = [p["plan"] for p in plains], [kind(p) for p in plains], remembered("speeds.json")
    flops = f": {short(sum(answer['C'] for answer in answers))} FLOPs"
    if not all(name in speeds for name in kinds):
        return f"{flops}; isoflop plan says how long that takes"
    return f"{flops}, about {clock(sum(reckoned(kinds, answers, speeds)))} of a device"


def reckoned(kinds: list[str], answers: list[Answer], speeds: dict[str, Any]) -> list[float]:
    """Time of each run by measured speeds of its kind [s]."""
    return [
        answer["steps"] * step_s(answer["step_C"], speeds[name])
        + len(answer["marks"]) * rest_s(answer["step_C"], speeds[name])
        for name, answer in zip(kinds, answers, strict=True)
    ]


def kind(plain: config.Config) -> str:
    """Hash of what a speed belongs to: this machine, and all of a run's architecture and recipe but its size."""
    family = {k: v for k, v in plain["family"].items() if k not in ("width", "depth", "lr")}
    recipe = {k: v for k, v in plain["recipe"].items() if k in ("batch", "precision")}
    data = {k: v for k, v in plain["data"].items() if k != "size"}
    machine = [platform.node(), gpus(), config.threads()]
    return identity.digest([*machine, plain["names"], family, data, recipe, plain["trainer"]])[:16]


def unmeasured(kinds: list[str], answers: list[Answer], speeds: dict[str, Any]) -> list[int]:
    """The configs to measure: the smallest and the largest step of each kind where no measurement is near."""
    limit, wanted = LARGEST_STEP["gpu" if gpus() else "cpu"], []
    for name in dict.fromkeys(kinds):
        members = sorted((at for at, other in enumerate(kinds) if other == name), key=lambda at: answers[at]["step_C"])
        small = [at for at in members if answers[at]["step_C"] <= limit] or members[:1]
        have = [point[0] for point in speeds.get(name, [])]
        for at in dict.fromkeys((small[0], small[-1])):
            size = answers[at]["step_C"]
            if not any(1 / NEAR <= size / other <= NEAR for other in have):
                wanted.append(at)
                have.append(size)
    return wanted


def step_s(step_C: float, points: list[list[float]]) -> float:
    """Time of a step by measured ones [FLOPs, s, s], ascending."""
    if step_C <= points[0][0]:
        return points[0][1]
    if step_C >= points[-1][0]:
        return points[-1][1] * step_C / points[-1][0]
    (low, fast, _), (high, slow, _) = next((a, b) for a, b in pairwise(points) if a[0] <= step_C <= b[0])
    share = math.log(step_C / low) / math.log(high / low)
    return float(fast ** (1 - share) * slow**share)


def rest_s(step_C: float, points: list[list[float]]) -> float:
    """Time of all else by the nearest measurement [s]: start and one evaluation, as many as a run has marks."""
    return min(points, key=lambda point: abs(math.log(point[0] / step_C)))[2]
