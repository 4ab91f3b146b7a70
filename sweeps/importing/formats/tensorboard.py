"""Event files of TensorBoard, by its own library: a folder is a run, whose files follow one another.

Hyperparameters of `add_hparams`, which writes them into a folder inside the run's, are its config.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from isoflop.sweeps.importing.log import STEP, Found, Log, numbers

TITLE, RANK = "TensorBoard event files", 4
# what add_hparams calls what it writes (tensorboard/plugins/hparams/metadata.py)
HPARAMS = "_hparams_/session_start_info"
KINDS = ("number_value", "string_value", "bool_value")


def find(source: str) -> Iterator[Found]:
    """Find the runs of a folder, or of one event file."""
    path = Path(source)
    files = [path] if path.is_file() and "tfevents" in path.name else sorted(path.rglob("*tfevents*"))
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        folders[file.parent].append(file)
    # the folder of add_hparams lies in the run's, named by the time
    inner = {folder for folder in folders if folder.parent in folders and folder.name.replace(".", "").isdigit()}
    for folder, own in folders.items():
        if folder not in inner:
            more = [file for other in inner if other.parent == folder for file in folders[other]]
            name = folder.resolve().name if path.is_file() or folder == path else str(folder.relative_to(path))
            yield Found(name, partial(_read, name, [*more, *own]))


def _read(name: str, files: list[Path]) -> Log:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    log, points = Log(name, name), dict[tuple[int, int], dict[str, float]]()
    for place, file in enumerate(files):
        for content in _contents(file, log):
            event = Event.FromString(content)
            for value in event.summary.value:
                if value.tag == HPARAMS:
                    facts = HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info.hparams
                    kinds = {name: fact.WhichOneof("kind") for name, fact in facts.items()}
                    log.config |= {name: getattr(facts[name], kind) for name, kind in kinds.items() if kind in KINDS}
                elif (number := _number(value)) is not None:
                    points.setdefault((place, event.step), {}).update(numbers({value.tag: number}, log.left_out))
                elif not value.tag.startswith("_hparams_"):
                    log.left_out.add(value.tag)
    log.points = [{STEP: step} | point for (_, step), point in sorted(points.items())]
    return log


def _contents(file: Path, log: Log) -> Iterator[bytes]:
    """Yield the events of a file up to where it is torn."""
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader = PyRecordReader_New(str(file))
    while True:
        try:
            reader.GetNext()
        except errors.OutOfRangeError:
            return
        except errors.DataLossError as error:
            log.damage = f"{file.name} is torn ({error.message}): what lies before is read"
            return
        yield reader.record()


def _number(value: Any) -> float | None:
    """Return the scalar that an event holds, old or new in form; None for any other value."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.HasField("tensor") and not value.tensor.tensor_shape.dim:
        from tensorboard.util.tensor_util import make_ndarray

        array = make_ndarray(value.tensor)
        return float(array) if array.dtype.kind in "fiu" else None
    return None
