"""Where Hydra looks for plugins: a sweeper that knows runs by their content, a launcher of fresh local processes.

Hydra accepts only classes defined in this namespace; the work is in sweeps/, imported when it is called.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ContentSweeper(Sweeper):
    """Makes the grid's runs that are missing, each frozen before anything starts."""

    def __init__(self, params: dict[str, Any] | None = None, grids: list[dict[str, Any]] | None = None) -> None:
        self.grids = [dict(grid) for grid in grids or []] or [dict(params or {})]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.given = (hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        from sweeps.sweeper import sweep

        sweep(*self.given, self.grids, arguments)


class LocalLauncher(Launcher):
    """A fresh process for every run, as many at a time as there are GPUs or cores."""

    def __init__(self, n_jobs: int | None = None, timeout_s: float | None = None) -> None:
        self.n_jobs, self.timeout_s = n_jobs, timeout_s

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from sweeps.launcher import launch

        return launch(self.config, job_overrides, self.n_jobs, self.timeout_s)
