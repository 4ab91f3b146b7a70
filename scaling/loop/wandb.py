"""Weights & Biases: a mirror of a run under the run's own id, so that a resumed or repeated run goes on in it.

Its config holds the record's columns that are known beforehand, its summary the others, those of the last mark; and the
whole record as text, from which `isoflop import` makes the table again.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from isoflop import record
from isoflop.folder import RunFolder
from isoflop.scaling.config.frozen import FrozenConfig

# what a chart of a column opens on; any other than these on C
AXES = {"lr": "step", "L_train": "D"}
# dotted columns that say what the run is, and belong to the config
KNOBS = ("family.", "data.", "recipe.", "budget.")


class WandbRun:
    """A run of W&B; grouped by sweep, tagged by family."""

    def __init__(self, config: FrozenConfig, folder: RunFolder, columns: record.Row) -> None:
        import wandb

        wanted = config.logger
        settings = wandb.Settings(silent=True, console="off")
        offline = wanted.offline or not is_online()
        # the agent of a W&B sweep has settled where a run goes and what it is called
        where: dict[str, Any] = {"project": wanted.project, "entity": wanted.entity, "id": config.run_id}
        known = {name: value for name, value in columns.items() if value is not None}
        self.run = wandb.init(
            **({} if "WANDB_SWEEP_ID" in os.environ else where),
            mode="offline" if wanted.offline else None,
            resume=None if offline else "allow",
            dir=str(folder.path),
            name=_name_of(config, columns),
            group=config.sweep,
            tags=[config.names.family, *config.tags],
            config=known | {"folder": str(folder.path.resolve()), "frozen": config.to_json()},
            settings=settings,
        )
        self.known = known.keys()
        for axis in ("step", "D", "C"):
            self.run.define_metric(axis, hidden=True)
        for column, axis in AXES.items():
            self.run.define_metric(column, step_metric=axis)
        self.run.define_metric("*", step_metric="C")
        if not self.run.offline and self.run.url:
            folder.write_mirror(self.run.url)

    def send(self, point: Mapping[str, float]) -> None:
        self.run.log(dict(point))

    def close(self, rows: Sequence[record.Row], ok: bool) -> None:
        """Send the record, and say whether the run ended well."""
        if rows:
            text = record.text(rows)
            # as they are read: W&B knows a status by the name of its member
            last = {name: value for name, value in record.parse(text)[-1].items() if value is not None}
            late = {name: last[name] for name in last if name.startswith(KNOBS) and name not in self.known}
            self.run.config.update(late, allow_val_change=True)
            result = {name: value for name, value in last.items() if not name.startswith(KNOBS)}
            self.run.summary.update(result | {"record": text})
        self.run.finish(exit_code=int(not ok))


def _name_of(config: FrozenConfig, columns: record.Row) -> str:
    """Return a readable name: family, dials, budget, rate and seed, in which runs of a sweep differ."""
    budget = config.budget
    first, last = min(budget.values), max(budget.values)
    span = f"{first:.6g}" if first == last else f"{first:.6g}..{last:.6g}"
    rate = "" if columns.get("lr") is None else f"-lr{columns['lr']:.3g}"
    length = f"{budget.name}{span}".replace("e+", "e")
    return f"{config.names.family}-w{config.width}-d{config.depth}-{length}{rate}-s{config.seed}"


def is_online() -> bool:
    """Return whether W&B sends what it is given, by its settings and the environment."""
    import wandb

    silent: Any = wandb.setup(settings=wandb.Settings(silent=True))
    return bool(silent.settings.mode == "online")


def login_problem(what: str = "logger=wandb", instead: str = "logger.offline=true") -> str:
    """Return why W&B cannot be reached with a login, as a sentence; '' if it can, or stays offline."""
    import wandb

    if not is_online():
        return ""
    instead = f"; {instead} needs no login"
    try:
        if wandb.login(prompt=False, verify=True):
            return ""
    except Exception as error:  # of the network, of the server, of wandb
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return f"{what} cannot log in: {first}{instead}"
    return f"{what} needs a login: run `wandb login`, or set WANDB_API_KEY{instead}"
