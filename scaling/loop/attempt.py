"""One attempt at a run: train a config in its folder, in this process or in one for every rank, and measure its marks.

    with Heart(folder) as heart, contextlib.ExitStack() as afterwards:
        rows = Attempt(config, folder, values=[1e6], heart=heart).train(afterwards)

torch stays out of the imports above the functions.
"""

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from isoflop import record
from isoflop.command import Stopped
from isoflop.folder import RunFolder
from isoflop.scaling.config import resume
from isoflop.scaling.config.frozen import FrozenConfig, columns, rung_of_mark
from isoflop.scaling.config.identity import digest
from isoflop.scaling.config.sections import Logger
from isoflop.scaling.loop.ranks import placement, train_ranks
from isoflop.scaling.process.lock import Heart
from isoflop.scaling.process.signals import Deferred, between_steps

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from isoflop.scaling.assemble import Assembled, Mark
    from isoflop.scaling.families.base import Model
    from isoflop.scaling.loop.compiled import Compiler
    from isoflop.scaling.loop.mirror import Mirror
    from isoflop.scaling.loop.module import ScalingModule

# Lightning's advice that does not apply here: we own the data order, steps and checkpoints
ADVICE = (
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*`srun` command is available.*",
    ".*isinstance.treespec, LeafSpec.*",
)


@dataclass(frozen=True)
class Attempt:
    """What is to be trained and where; `train` may be called once."""

    config: FrozenConfig
    folder: RunFolder
    values: list[float]
    """The values of the budget, a mark each, that are missing."""
    heart: Heart
    """That of the run; it beats."""
    bar: bool = False
    """Whether to show a progress bar."""
    not_captured: str = ""
    """Why no graph could be captured in an earlier attempt; this one is in a fresh process then, without a graph."""

    def train(self, afterwards: contextlib.ExitStack) -> list[record.Row]:
        """Train once and return the rows of the missing marks; what can wait for the record goes into `afterwards`."""
        devices = self.config.trainer.devices
        if devices > 1 or self.not_captured:
            with self.heart.lent():
                return train_ranks(devices, _train_rank, self)  # type: ignore[no-any-return]
        return self.train_here(afterwards)

    def train_here(self, afterwards: contextlib.ExitStack) -> list[record.Row]:
        """Train in this process; marks whose weights were kept are only measured."""
        import torch

        from isoflop.scaling.assemble import assemble
        from isoflop.scaling.hardware import choose_kernels, keep_freed_memory, refuse_missing_gpu, threads
        from isoflop.scaling.loop.mirror import Mirror
        from isoflop.scaling.loop.saved_state import measure_again
        from isoflop.scaling.promises import hold_to_its_promises

        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        for advice in ADVICE:
            warnings.filterwarnings("ignore", advice)
        mirror = afterwards.enter_context(Mirror(self.config, self.folder))
        torch.set_num_threads(threads())
        keep_freed_memory()
        refuse_missing_gpu(self.config.trainer.accelerator)
        run = assemble(self.config)
        hold_to_its_promises(self.config.names.family, run.family, run.task)
        choose_kernels(run.recipe.precision, self.config.trainer.deterministic)
        marks = [mark for mark in run.marks if mark.value in self.values]
        for mark in marks:  # before anything is trained
            if problem := record.CHECKER.problem(self.size(run, mark)):
                raise ValueError(f"no record may hold what {self.config.names.family} counts: {problem}")
        mirror.open(self.size(run, marks[-1]), {mark.steps: mark for mark in marks})
        alone = self.config.trainer.devices == 1
        rows = measure_again(self.config, self.folder, run, self.values) if alone else None
        rows = rows or self.train_marks(run, marks, mirror)
        mirror.rows = resume.whole(rows, self.folder.path, self.config, self.values)
        return [*mirror.rows]

    def train_marks(self, run: "Assembled", marks: "list[Mark]", mirror: "Mirror") -> list[record.Row]:
        """Train the missing marks and return their rows."""
        from isoflop.scaling.loop.checkpoints import Checkpoints, Resume
        from isoflop.scaling.loop.progress import CurveWriter, Progress

        module = self.build_module(run, [mark.steps for mark in marks])
        module.graphed = self.not_captured or None
        result: dict[str, Any] = {"status": record.RunStatus.FAILED}
        deferred = Deferred(signal.SIGUSR1, signal.SIGUSR2)
        progress = Progress(self.heart, run.steps_made, self.bar)
        every_s = self.config.trainer.checkpoint_every_s
        checkpoints = Checkpoints(self.folder, self.config.code, every_s, deferred, self.heart.lost)
        state = checkpoints.find(module)
        resumed, curve = state is not None, CurveWriter(self.folder, run.cost.flops_per_target, mirror)
        trainer = self.trainer([Resume(state), curve, mirror, progress, checkpoints])
        del state
        try:
            with deferred, between_steps():
                result |= fit(trainer, module, deferred)
        finally:
            progress.close()
            checkpoints.close()
        module.step_s = curve.step_s()
        rows = self.rows(run, marks, module, checkpoints.wall_s, result)
        if module.profiles and trainer.is_global_zero:
            measured = [(mark.D, module.profiles.get(mark.steps, [])) for mark in marks]
            self.folder.write_probes([(D, *point) for D, profile in measured for point in profile])
        if run.several and trainer.is_global_zero:
            self.account(run, module.made, resumed=resumed)
        return rows

    def size(self, run: "Assembled", mark: "Mark") -> record.Row:
        """Return the columns of a mark that are known before it is trained."""
        return columns(self.config) | rung_of_mark(self.config, mark.value) | run.columns(mark)

    def build_module(self, run: "Assembled", steps: list[int]) -> "ScalingModule":
        """Build the module of a run for marks at these steps, its model initialised from the seed."""
        import torch

        from isoflop.scaling.loop.module import ScalingModule
        from isoflop.scaling.loop.spec import CHUNK_S, RunSpec

        examples, trainer = run.data.load(), self.config.trainer
        torch.manual_seed(self.config.seed)
        model = run.family.build(run.task)
        spec = RunSpec(
            run.task,
            run.recipe,
            steps,
            self.config.seed,
            first=run.marks[0].steps,
            keep_trunk=run.several,
            micro_batch=trainer.micro_batch,
            probes=run.probes,
            keep=self.keep_weights(run) if trainer.keep == "marks" else None,
            data=run.data,
            rebuild=run.rebuild,
            chunk_s=min(CHUNK_S, trainer.checkpoint_every_s),
            by_graph=trainer.graph and not self.not_captured,
            compiler=self.compiler(),
        )
        return ScalingModule(model, run.recipe.multipliers(model, run.family, run.task), examples, spec)

    def compiler(self) -> "Compiler | None":
        """Return what compiles the model's passes; None if the config does not ask for it."""
        from isoflop.scaling.loop.compiled import Compiler

        config = self.config
        if config.trainer.compile is False:
            return None
        knobs = {name: value for name, value in config.family.items() if name not in (*record.DIALS, "lr")}
        kind = [config.target("family"), knobs, config.recipe["precision"]]
        data = {name: value for name, value in config.data.items() if name != "size"}
        shape = [config.width, config.depth, config.names.data, data, config.recipe["batch"], asdict(config.trainer)]
        return Compiler(config.trainer.compile, digest(kind)[:16], digest([kind, shape])[:16])

    def keep_weights(self, run: "Assembled") -> "Callable[[int, Model], None]":
        """Return the function that keeps a mark's weights; all ranks call it, and the first one writes."""
        from isoflop.scaling.loop import saved_state

        D = {mark.steps: mark.D for mark in run.marks}
        first = os.environ.get("LOCAL_RANK", "0") == "0"

        def keep(steps: int, model: "Model") -> None:
            weights = saved_state.whole(model)
            if first and not self.heart.lost():
                kept = {"code": self.config.code.to_json(), "weights": dict(weights)}
                saved_state.write(self.folder.weights(D[steps]), kept)

        return keep

    def trainer(self, callbacks: "list[pl.Callback]") -> "pl.Trainer":
        import pytorch_lightning as pl

        return pl.Trainer(
            **placement(self.config.trainer),
            max_epochs=-1,  # without end: the module stops when every mark is measured
            logger=False,
            callbacks=callbacks,
            default_root_dir=self.folder.path.absolute(),  # a path, and no address
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def rows(
        self, run: "Assembled", marks: "list[Mark]", module: "ScalingModule", wall_s: float, unreached: dict[str, Any]
    ) -> list[record.Row]:
        """Return the rows of the marks; unreached: the result of a mark that was not reached."""
        from isoflop.scaling.hardware import measure

        rows = []
        speed = measure(module.trainer, run.recipe.precision, run.step_C, module.step_s)
        speed |= {"compile_s": module.compile_s if module.is_compiled else None, "graph": module.graphed}
        wall_s -= module.probe_s + module.compile_s
        for mark in marks:
            reached = module.results.get(mark.steps)
            result = unreached if reached is None else {"status": record.RunStatus.OK} | reached
            share_s = wall_s * mark.steps / module.made  # of all time the share that the steps have
            times = {"wall_s": share_s, "targets_per_s": mark.D / share_s}
            rows.append(record.row(**self.size(run, mark) | module.examples.facts | speed | times | result))
        return rows

    def account(self, run: "Assembled", made: int, resumed: bool) -> None:
        """Write what all steps of a run of several marks have cost; resumed: whether earlier steps are included."""
        earlier = self.folder.read_spent()
        if not earlier and self.folder.spent.exists():
            print(f"{self.folder.spent} was damaged and is dropped: what was spent counts from here", file=sys.stderr)
        before = 0.0 if resumed else earlier.get("C", 0.0)
        spent = {"marks": len(run.marks), "steps": made, "C": before + made * run.step_C}
        self.folder.write_spent(spent | {"C_separate": sum(m.C for m in run.marks)})


def fit(trainer: "pl.Trainer", module: "ScalingModule", deferred: Deferred) -> dict[str, Any]:
    """Train to the last mark; return the status, with a reason if it diverged. Raise Stopped after a signal."""
    from isoflop.scaling.loop.module import DivergedError

    try:
        trainer.fit(module)
    except DivergedError as error:
        return {"status": record.RunStatus.DIVERGED, "reason": str(error)}
    except SystemExit as stop:  # Lightning's answer to SIGINT and SIGTERM that we do not handle
        if deferred.handled:  # a scheduler's handler has seen to what comes next
            raise
        raise Stopped(130 if stop.code else 143) from None
    if any(steps not in module.results for steps in module.marks):
        raise RuntimeError(f"training ended at step {module.position} of {module.goal}")
    return {"status": record.RunStatus.OK}


def _train_rank(attempt: Attempt) -> list[record.Row]:
    with contextlib.ExitStack() as afterwards:
        if os.environ["LOCAL_RANK"] != "0":
            silent = replace(attempt, config=replace(attempt.config, logger=Logger()), bar=False)
            return silent.train_here(afterwards)
        attempt.heart.start()
        afterwards.callback(attempt.heart.stop)
        return attempt.train_here(afterwards)
