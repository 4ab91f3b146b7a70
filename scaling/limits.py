"""Refusals before a run starts: of the impossible, at once and without torch, and of what this machine cannot hold.

refuse_words(["family=[mlp,lstm]"])           # UserError: a list is not a name; -m family=mlp,lstm
refuse_values(cfg)                            # by the composed config, anywhere
refuse_place(trainer)                         # by what this machine has
refuse_size(plan, trainer, available)         # by what estimate.plan says of the run
"""

import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from isoflop.checks import is_number, one_of, whole_number
from isoflop.errors import UserError
from isoflop.record import DIALS
from isoflop.scaling.config import choices
from isoflop.scaling.config.composed import container, whole_as_int
from isoflop.scaling.config.sections import Logger, RunPlan, Trainer
from isoflop.scaling.hardware import cores, gpus
from isoflop.scaling.recipe import rules
from isoflop.wording import gigabytes

# parameters of a body of width² · depth, the least that a family with a square map in each layer has. With gradients
# and two moments, 16 bytes each, that is a petabyte, which no machine holds
MOST_PARAMETERS = 1e15 / 16
# bytes of a parameter in training at least: itself, its gradient and one moment in float32
LEAST_BYTES = 12
# dense peaks that no device here exceeds [FLOP/s]: of a core, two AVX-512 units of 16 multiply-adds at 3 GHz (Intel
# 64 and IA-32 Optimization Reference Manual); of a GPU, the B200's bf16 (NVIDIA Blackwell data sheet 2024, dense)
PEAK = {"cpu": 2e11, "gpu": 2.25e15}
# a run that takes longer than this even at such a peak is a slip of the pen [s]
LONGEST_S = 30 * 86400.0
# options of Hydra's that train takes, and those among them that are followed by a value
OPTIONS = {"-m", "--multirun", "-r", "--run", "--resolve"} | (
    VALUED := {"-c", "--cfg", "-p", "--package", "-i", "--info", "-cd", "--config-dir", "-cn", "--config-name"}
)
# groups whose choices are names
GROUPS = ("family", "data", "recipe", "trainer", "logger", "study", "experiment")


def renamed(arguments: Sequence[str]) -> list[str]:
    """Return the command line with study=NAME in place of its older spelling, ladder=NAME."""
    return [re.sub(r"^(\+?)ladder=", r"\1study=", argument) for argument in arguments]


def refuse_words(arguments: Sequence[str]) -> None:
    """Refuse a command line of train by its words alone."""
    before = ""
    for word in overrides(arguments):
        key, equals, value = word.partition("=")
        if equals and not key.lstrip("+"):
            raise UserError(f"{word!r} has no key; the form is key=value, as in family.width=64")
        if not equals and not word.startswith("~"):
            raise UserError(f"{word!r} is not key=value, as in family.width=64{_after(before, word)}")
        if key.lstrip("+") in GROUPS and value.startswith("["):
            several = value.strip("[] ").replace(" ", "")
            raise UserError(f"{word} is a list, where a name is needed; for a run of each write -m {key}={several}")
        if key.lstrip("+") == "claims":
            raise UserError("claims are not part of a run; judge its table: isoflop judge runs.csv --claims PATH")
        before = word


def _after(before: str, word: str) -> str:
    """Return what to do about a word that a space has cut off from the one before it."""
    if before.endswith(","):
        return f"; leave out the space: {before}{word}"
    return f"; a value with a space needs quotes: '{before} {word}'" if "=" in before else ""


def overrides(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the overrides among the words; raise UserError for an unknown option."""
    words = iter(arguments)
    for word in words:
        name = word.partition("=")[0]
        if not word.startswith("-"):
            yield word
        elif name in ("--shell-completion", "-sc"):
            raise UserError(f"{name} is Hydra's own; isoflop --completion bash completes all of isoflop, train too")
        elif name not in OPTIONS:
            raise UserError(f"{name} is not an option of train, which has {', '.join(sorted(OPTIONS))} and --help")
        elif name in VALUED and "=" not in word:
            next(words, None)


def refuse_values(cfg: DictConfig) -> None:
    """Refuse a composed config for what can be known without torch, wherever the run is made."""
    recipe = whole_as_int(container(OmegaConf.select(cfg, "recipe")))
    rules.refuse(recipe if isinstance(recipe, dict) else {})
    width, depth = (whole_as_int(OmegaConf.select(cfg, f"family.{dial}")) for dial in DIALS)
    for dial, value in zip(DIALS, (width, depth), strict=True):
        whole_number(f"family.{dial}", value)
    if width**2 * depth > MOST_PARAMETERS:
        size = f"at least {width**2 * depth:.2g} parameters"
        raise UserError(f"family.width={width:g} and family.depth={depth:g} make {size}, more than any machine holds")
    for group in ("family", "data"):
        _refuse_knobs(cfg, group)


def _refuse_knobs(cfg: DictConfig, group: str) -> None:
    """Refuse a knob whose value or type the choice's yaml does not allow."""
    name, given = OmegaConf.select(cfg, f"names.{group}"), container(OmegaConf.select(cfg, group))
    if name not in choices.names(group):  # which is said where names are checked
        return
    for knob, values_allowed in choices.allowed(group, name).items():
        one_of(f"{group}.{knob}", given.get(knob), values_allowed)
    for knob, default in choices.defaults(group, name).items():
        value = given.get(knob)
        if isinstance(default, bool) and not isinstance(value, bool | None):
            raise UserError(f"{group}.{knob}={value!r} is neither true nor false")
        if is_number(default) and value is not None and not is_number(value):
            raise UserError(f"{group}.{knob}={value!r} is not a number; {name} has {default}")


def refuse_place(trainer: Trainer) -> None:
    """Refuse a placement that this machine does not have, before torch is imported."""
    accelerator, devices = trainer.accelerator, trainer.devices
    if accelerator == "mps" and platform.system() != "Darwin":
        raise UserError("trainer.accelerator=mps needs a Mac; leave it out, or give cpu")
    if accelerator == "gpu" and not has_gpu():
        raise UserError("trainer.accelerator=gpu, but this machine shows no GPU; leave it out, or give cpu")
    most = max(2, cores())  # two ranks can be tried anywhere
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not has_gpu())
    if on_cpu and devices > most:
        have = f"{cores()} core{'s' * (cores() > 1)}"
        raise UserError(f"trainer.devices={devices} is more than this machine's {have}; give at most {most}")
    cards = len(gpus())  # none are known of other makers
    if not on_cpu and 0 < cards < devices:
        have = "GPU" if cards == 1 else f"{cards} GPUs"
        raise UserError(f"trainer.devices={devices} is more than the {have} of this machine; give at most {cards}")


def refuse_logger(logger: Logger, call: Callable[..., Any]) -> None:
    """Refuse a logger that cannot be used here; call: calls a function named "module:name", here or elsewhere."""
    asks = logger.name not in ("none", "csv") and not logger.offline
    if sentence := asks and call("isoflop.scaling.loop.mirror:problem", logger.name):
        raise UserError(sentence)


def refuse_size(plan: RunPlan, trainer: Trainer, available: int) -> None:
    """Refuse a run that this machine cannot hold or finish; available: memory that counts [bytes], 0 if unknown."""
    sharded = trainer.devices if trainer.strategy == "fsdp" else 1
    least = plan.N * LEAST_BYTES / sharded
    if available and least > available:
        need = f"{plan.N:.2g} parameters take at least {gigabytes(least)} to train"
        raise UserError(f"{need}, and there are {gigabytes(available)}; give a smaller family.width or family.depth")
    on_gpu = trainer.accelerator != "cpu" and has_gpu()
    seconds = plan.C / (PEAK["gpu"] * trainer.devices if on_gpu else PEAK["cpu"] * cores())
    if seconds > LONGEST_S:
        long = f"would take at least {seconds / 86400 / 365.25:.2g} years here"
        raise UserError(f"{plan.C:.2g} FLOPs in {plan.steps:.2g} steps {long}; give a smaller budget")


def has_gpu() -> bool:
    """Return whether there could be a GPU: a visible device file of NVIDIA's, AMD's or WSL's, or a Mac."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset").strip() in ("", "-1"):
        return False
    paths = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
    return any(os.path.exists(path) for path in paths) or os.uname().sysname == "Darwin"


def host_memory() -> int:
    """Return the memory of this machine, or of the container, with swap [bytes]; 0 if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total = sum(int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "SwapTotal"))
    except (OSError, KeyError, ValueError):
        return 0
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if os.path.exists(path) and (limit := Path(path).read_text().strip()).isdecimal():
            total = min(total, int(limit))
    return total
