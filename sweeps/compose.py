"""From grids of overrides to resolved configs: Hydra composes once for a choice of groups, scalars are set on copies.

compose(context, cfg, [{"family": "mlp,lstm"}], ["family.width=16,32"])        # four configs
"""

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress, track

from isoflop.command import hydra_sentence
from isoflop.errors import UserError
from isoflop.scaling.config import identity
from isoflop.scaling.config.composed import container, resolve, rung, whole_as_int
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.limits import refuse_values
from isoflop.sweeps import costs

# where the runs of a sweep go and how they are made: the same for all of them
ONE = ("out", "sweep", "study", "redo_other_code", "round_up", "trainer", "logger", "names", "rung", "tags")
# what a command line chooses among the grids of a study, rather than putting another in its place
CHOSEN = ("family", "data")

console = Console(stderr=True)


def compose(
    context: HydraContext, cfg: DictConfig, grids: Sequence[dict[str, Any]], arguments: list[str]
) -> list[FrozenConfig]:
    """Return the resolved config of every point of every grid, each run once; UserError if there is none."""
    loader = context.config_loader
    assert isinstance(loader, ConfigLoaderImpl)
    parser = OverridesParser.create(config_loader=loader)
    choices = frozenset(map(str, cfg.hydra.runtime.choices))
    chosen: dict[tuple[str, ...], _Choice] = {}
    configs: dict[str, FrozenConfig] = {}
    words: dict[str, tuple[Override, bool]] = {}  # a grid of thousands of points has few words
    points = expanded(parser, grids, arguments)
    for point in track(points, "composing", console=console, transient=True, disable=not console.is_terminal):
        for word in point:
            if word not in words:
                (override,) = parser.parse_overrides([word])
                words[word] = (override, _scalar(override, choices))
        groups = tuple(word for word in point if not words[word][1])
        if groups not in chosen:
            chosen[groups] = _Choice(loader.load_sweep_config(cfg, list(groups)))
        keys = [words[word][0].get_key_element() for word in point]
        config = chosen[groups].config([words[word][0] for word in point if words[word][1]], keys)
        configs.setdefault(config.run_id, config)
    return list(configs.values())


def check(configs: list[FrozenConfig]) -> list[FrozenConfig]:
    """Return the configs with their plans, asked of the left side; UserError if one cannot be run."""
    with progress("counting parameters and FLOPs") as report:
        plans = costs.describe(configs, report)
    errors = Counter(str(plan) for plan in plans if isinstance(plan, UserError))
    if errors:
        (sentence, times), more = errors.most_common(1)[0], len(errors) - 1
        rest = f"; {more} other mistakes" if more else ""
        raise UserError(f"{sentence} ({times} of {len(configs)} runs{rest}; nothing was started)")
    pairs = zip(configs, plans, strict=True)
    return [replace(config, plan=plan) for config, plan in pairs if not isinstance(plan, UserError)]


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar in a terminal, moved by calls with the share that is done; elsewhere show nothing."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def grids_of(params: Any, grids: Any, larger: Any = ()) -> list[dict[str, Any]]:
    """Return the grids of a sweeper's node, by default its params; UserError if they are not grids."""
    both = {"grids": grids or [params or {}], "larger": larger or []}
    for name, listed in both.items():
        bare = isinstance(listed, str) or not isinstance(listed, Sequence)
        if wrong := [listed] if bare else [grid for grid in listed if not isinstance(grid, Mapping)]:
            example = f"hydra.sweeper.{name}=[{{family:'mlp,lstm',family.width:'16,32'}}]"
            raise UserError(f"hydra.sweeper.{name} holds {wrong[0]!r}, which is not a grid; write {example}")
    return [{str(key): value for key, value in grid.items()} for listed in both.values() for grid in listed]


def expanded(parser: OverridesParser, grids: Sequence[dict[str, Any]], arguments: list[str]) -> list[list[str]]:
    """Return the overrides of every point; what `arguments` say of a key replaces what a grid says of it."""
    given = parser.parse_overrides(arguments)
    grids, given = _chosen(grids, given)
    arguments = [str(o.input_line) for o in given]
    keys = {o.get_key_element() for o in given}
    points: list[list[str]] = []
    for grid in grids:
        lines = [f"{key}={value}" for key, value in grid.items() if key not in keys]
        overrides = parser.parse_overrides([*lines, *arguments])
        swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
        if wrong := [key for key in swept if key.split(".")[0] in ONE]:
            raise UserError(f"{wrong[0]} takes one value in a sweep; give a command for each")
        points += BasicSweeper.split_arguments(overrides, None)[0]
    if not points:
        empty = [o.input_line for o in given if o.is_sweep_override() and not list(o.sweep_string_iterator())]
        raise UserError(f"the grid holds no run: {' '.join(map(str, empty)) or 'it has no point'}; give it a value")
    return points


def _chosen(grids: Sequence[dict[str, Any]], given: list[Override]) -> tuple[Sequence[dict[str, Any]], list[Override]]:
    """Return the grids restricted to the requested family and data, if they have them, and the other overrides."""
    left = []
    for override in given:
        key, requested = override.get_key_element(), _words(override.input_line)
        if key not in CHOSEN or not {*requested} <= {word for grid in grids for word in _words(grid.get(key))}:
            left.append(override)
            continue
        # a grid that says nothing of it is of all that are asked for
        having = [[word for word in _words(grid.get(key, ",".join(requested))) if word in requested] for grid in grids]
        grids = [grid | {key: ",".join(some)} for grid, some in zip(grids, having, strict=True) if some]
    return grids, left


def _words(text: Any) -> list[str]:
    return [word for part in str(text or "").rpartition("=")[2].split(",") if (word := part.strip())]


class _Choice:
    """What Hydra composed for one choice of groups, and copies of it at other scalars."""

    def __init__(self, composed: DictConfig) -> None:
        self.composed = composed
        self.bare = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        OmegaConf.set_struct(self.bare, True)
        HydraConfig.instance().set_config(composed)
        for key in ("names", "sweep"):  # what follows from the choice alone is resolved once
            self.bare[key] = container(composed[key])
        self.seed_alone = not _follows_from("seed", OmegaConf.to_container(self.bare, resolve=False))
        self.resolved: dict[tuple[str, ...], tuple[FrozenConfig, dict[str, Any]]] = {}

    def config(self, scalars: list[Override], keys: list[str]) -> FrozenConfig:
        """Return the resolved config with these values set; keys: all that was overridden."""
        seed = next((o.value() for o in reversed(scalars) if o.key_or_group == "seed"), None)
        if not self.seed_alone or type(seed) is not int:
            return self.resolve(scalars, keys)[0]
        rest = tuple(str(o.input_line) for o in scalars if o.key_or_group != "seed")
        if rest not in self.resolved:
            self.resolved[rest] = self.resolve(scalars, keys)
        first, science = self.resolved[rest]
        name, rule = identity.name_in(Path(science["out"]), science | {"seed": seed})
        return replace(first, seed=seed, run_id=name, run_id_rule=rule)

    def resolve(self, scalars: list[Override], keys: list[str]) -> tuple[FrozenConfig, dict[str, Any]]:
        """Return the resolved config with these values set, and what its name follows from."""
        job = self.at(scalars)
        job.rung = job.rung or rung(job, keys)
        refuse_values(job)
        config = resolve(job, keys)
        return config, {key: whole_as_int(container(job[key])) for key in (*identity.SCIENCE, "names", "out")}

    def at(self, scalars: list[Override]) -> DictConfig:
        """Return the config with these values set; UserError if this choice of groups has no such key."""
        job = copy.deepcopy(self.bare)
        for override in scalars:
            try:
                ConfigLoaderImpl._apply_overrides_to_config([override], job)
            except ConfigCompositionException as error:
                key = str(override.get_key_element())
                group = key.split(".")[0]
                if group not in job.names:
                    raise
                where = f"with {group}={job.names[group]}; nothing was started"
                raise UserError(f"{hydra_sentence(error)} ({where})") from None
        return job


def _scalar(override: Override, groups: frozenset[str]) -> bool:
    """Return whether an override only sets a value of a run: no group, no addition or deletion, not the sweep's."""
    plainly = not (override.is_add() or override.is_force_add() or override.is_delete() or override.is_hydra_override())
    key = override.key_or_group
    return plainly and key not in groups and key.split(".")[0] not in ONE


def _follows_from(key: str, node: Any) -> bool:
    """Return whether the text of any value of an unresolved config refers to a key."""
    if isinstance(node, dict):
        return any(_follows_from(key, value) for value in node.values())
    if isinstance(node, list):
        return any(_follows_from(key, value) for value in node)
    return isinstance(node, str) and "${" in node and key in node
