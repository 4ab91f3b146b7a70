"""Where Hydra looks for plugins: a sweeper that knows runs by their content, a launcher of fresh local processes, and
the yamls of a user's extensions.

Hydra accepts only classes defined in this namespace; the work is in sweeps/, imported when it is called.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ContentSweeper(Sweeper):
    """Makes the grid's runs that are missing, each frozen before anything starts; or, to retry, those of a folder."""

    def __init__(
        self,
        params: dict[str, Any] | None = None,
        grids: list[dict[str, Any]] | None = None,
        larger: list[dict[str, Any]] | None = None,
        retry: bool = False,
        dry_run: bool = False,
    ) -> None:
        self.grids, self.again = (params, grids, larger), retry

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.given = (hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        from isoflop.sweeps.compose import grids_of
        from isoflop.sweeps.sweeper import retry, sweep

        if self.again:
            retry(*self.given, arguments)
        else:
            sweep(*self.given, grids_of(*self.grids), arguments)


class LocalLauncher(Launcher):
    """A fresh process for every run, as many at a time as there are GPUs or cores."""

    def __init__(self, **settings: Any) -> None:
        from isoflop.sweeps.launcher import LaunchSettings

        self.settings = LaunchSettings.read(settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from isoflop.sweeps.launcher import launch
        from isoflop.sweeps.sweeper import freeze_points, job_return

        entries = freeze_points(self.context, self.config, job_overrides)
        launch([entry for entry in entries if not entry.finished], self.settings)
        return [job_return(entry, overrides) for entry, overrides in zip(entries, job_overrides, strict=True)]


class Extensions(SearchPathPlugin):
    """The yamls of declared extensions (isoflop/extensions.py) are choices like ours, in our app and in no other."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from isoflop.extensions import all_declared

        if any(element.path == "pkg://isoflop.conf" for element in search_path.get_path()):
            for extension in all_declared():
                search_path.append("isoflop.extensions", f"file://{extension.conf}")
