"""What a run asks of its training: the steps of its marks and how they are taken.

spec = RunSpec(task, recipe, marks=[100], seed=0)
spec.first_mark, spec.examples_at_a_time                # (100, 16)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from isoflop.scaling.data.base import Data
from isoflop.scaling.families.base import Model
from isoflop.scaling.loop.compiled import Compiler
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.subject import Probe
from isoflop.scaling.task import Task

# a signal, a checkpoint or the bar waits for no longer [s]; steps of 1 ms share what Lightning costs
CHUNK_S = 0.1


@dataclass(frozen=True)
class RunSpec:
    """Everything about a run's training but the model and its examples."""

    task: Task
    """What the examples ask of the model."""
    recipe: AdamW
    """Batch, rate and optimiser, every rule settled."""
    marks: Sequence[int]
    """Steps at which a cooled-down model is measured, ascending."""
    seed: int
    """Seed of the order of the data and of what is random in a step."""
    first: int | None = None
    """Steps of the first mark that the run ever had, of which the warm-up is a share; None for the first of `marks`."""
    keep_trunk: bool = False
    """Whether the trunk is set aside before every cooldown."""
    micro_batch: int | None = None
    """Examples at a time on a device; None for the whole batch."""
    probes: Mapping[str, Probe] = field(default_factory=dict)
    """What is measured at a mark beside the loss."""
    keep: Callable[[int, Model], None] | None = None
    """Called with the steps of a mark that was measured, and the model."""
    data: Data | None = None
    """What the examples were loaded from, for the probes (subject.py)."""
    rebuild: Callable[[Task], Model] | None = None
    """Builds the model again for another task, for the probes (subject.py)."""
    chunk_s: float = CHUNK_S
    """Time for which Lightning waits while several steps are taken [s]; at least one is."""
    by_graph: bool = False
    """Whether a CUDA graph takes the steps where it can (graph.py)."""
    compiler: Compiler | None = None
    """What compiles the model's passes (compiled.py); None to leave them as they are."""

    @property
    def first_mark(self) -> int:
        """Steps of the mark that the warm-up follows."""
        return self.first or self.marks[0]

    @property
    def examples_at_a_time(self) -> int:
        """Examples of a pass on a device."""
        return self.micro_batch or self.recipe.batch
