"""`trainer_state.json` of Hugging Face's Trainer: of each run the latest, with the model's configuration beside it.

It counts the batch of one process without accumulated gradients, so that batch is no column: D comes from the tokens
that `include_num_input_tokens_seen` counts, from total_flos and N, or from a batch that the user gives.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from isoflop import files
from isoflop.sweeps.importing.log import Found, Log, numbers, plain

TITLE, RANK, NAME = "Hugging Face trainer_state.json", 2, "trainer_state.json"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
COUNTED = "num_input_tokens_seen"
# what is no setting of the run
OWN = ("log_history", "stateful_callbacks", "trial_params", "global_step", "epoch", "total_flos")


def find(source: str) -> Iterator[Found]:
    """Find the runs of a folder, or of one file: a folder, with its checkpoints inside, is a run."""
    path = Path(source)
    latest: dict[Path, tuple[float, Path]] = {}
    for file in [path] if path.name == NAME and path.is_file() else sorted(path.rglob(NAME)):
        checkpoint = CHECKPOINT.fullmatch(file.parent.name)
        run = file.parent.parent if checkpoint else file.parent
        step = float(checkpoint[1]) if checkpoint else float("inf")
        latest[run] = max(latest.get(run, (0.0, file)), (step, file))
    for run, (_, file) in latest.items():
        inside = path.is_dir() and run != path and run.is_relative_to(path)
        name = str(run.relative_to(path)) if inside else run.resolve().name
        yield Found(name, partial(_read, name, file))


def _read(name: str, file: Path) -> Log:
    state = files.read_mapping(file)  # losses that Python wrote as NaN too
    if not isinstance(state.get("log_history"), list):
        raise ValueError(f"{file.name} is no state of a Trainer, or was cut: it has no log_history")
    log = Log(name, name)
    model = files.read_mapping(beside) if (beside := file.with_name("config.json")).is_file() else {}
    log.config = plain({**model, **{k: v for k, v in state.items() if k not in OWN}}, log.left_out)
    log.config["per_process_batch"] = log.config.pop("train_batch_size", "")
    if not log.config.get(COUNTED):  # it was not asked to count
        log.config.pop(COUNTED, None)
    log.points = [numbers(point, log.left_out) for point in state["log_history"]]
    if state.get("total_flos") and state.get("global_step"):
        log.points.append({"step": float(state["global_step"]), "total_flos": float(state["total_flos"])})
    planned, made = state.get("max_steps") or 0, state.get("global_step") or 0
    if made < planned and not (state.get("stateful_callbacks") or {}).get("EarlyStoppingCallback"):
        log.status, log.reason = "failed", f"it made {made} of {planned} steps"
    return log
