"""Datasets of Hugging Face, read as a stream: from the hub, or from a folder in one of its formats (no torch).

isoflop prepare data=hf data.name=roneneldan/TinyStories data.documents=100000
isoflop train data=hf data.name=./saved data.tokenizer=bpe
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from isoflop.checks import Limits
from isoflop.errors import UserError
from isoflop.scaling.config.contents import folder_fingerprint
from isoflop.scaling.data.corpus.documents import encoded, lacking
from isoflop.scaling.data.corpus.prepare import Preparation
from isoflop.scaling.data.corpus.streams import UNIT, SourceUnit, library
from isoflop.scaling.data.tokens import FromSource

# errors of the network and of what is not on the hub, by the names of their classes
UNREACHABLE = ("ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "ConnectTimeout")
NOT_THERE = ("DatasetNotFoundError", "RepositoryNotFoundError", "DataFilesNotFoundError", "EmptyDatasetError")


@dataclass(frozen=True)
class HuggingFace(FromSource):
    """A dataset of the hub, or a folder that `datasets` reads: of save_to_disk, or of data files.

    name: on the hub, or a folder. config: which of several. split: of its rows. field: the text's name.
    revision: a commit, branch or tag. documents: how many of the first, None for all.
    """

    name: str | None = None
    config: str | None = None
    split: str = "train"
    field: str = "text"
    revision: str | None = None
    documents: int | None = None

    limits: ClassVar[Limits] = {"documents": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise UserError("data=hf needs the name of a dataset: give data.name=roneneldan/TinyStories, say")

    def __getstate__(self) -> dict[str, Any]:  # another process opens its own stream
        return {name: value for name, value in vars(self).items() if name not in ("stream", "prepared")}

    @property
    def source(self) -> "HuggingFace":
        return self

    @property
    def about(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("name", "config", "split", "field", "revision", "documents")}

    def plan(self, tokenizer: str) -> Preparation:
        here = self.version or folder_fingerprint(self.name)
        version = repr((here or self.name, self.config, self.split, self.revision, self.documents))
        return Preparation(version, tokenizer, self.vocab_size, self.held_share, self.licence)

    @cached_property
    def stream(self) -> Any:
        """The rows, none read yet; UserError if there is no such dataset or no network to reach it."""
        datasets = library("datasets", f"data=hf data.name={self.name} is a dataset of Hugging Face")
        try:
            return self.open(datasets)
        except Exception as error:
            raise _refusal(self, error) from None

    def open(self, datasets: Any) -> Any:
        """Return the rows as the library `datasets` gives them."""
        if any((Path(str(self.name)) / name).is_file() for name in ("state.json", "dataset_dict.json")):
            saved = datasets.load_from_disk(self.name)
            if isinstance(saved, datasets.DatasetDict) and self.split not in saved:
                splits = ", ".join(saved)
                raise UserError(f"data.split={self.split} is not a split of {self.name}; choose one of {splits}")
            rows = saved[self.split] if isinstance(saved, datasets.DatasetDict) else saved
            return rows.to_iterable_dataset(num_shards=max(1, min(len(rows), 1 + rows.data.nbytes // UNIT)))
        if not Path(str(self.name)).exists() and not _hub_is_reachable():
            raise ConnectionError("no address of the hub")
        return datasets.load_dataset(self.name, self.config, split=self.split, revision=self.revision, streaming=True)

    def units(self) -> list[SourceUnit]:
        """Return a unit for each shard of the dataset; one unit if only the first documents are wanted."""
        shards = 1 if self.documents is not None else self.stream.num_shards
        return [SourceUnit((), number, shards) for number in range(shards)]

    def read(self, unit: SourceUnit) -> Iterator[bytes]:
        rows = self.stream
        if unit.stop is not None and unit.stop > 1:
            rows = rows.shard(num_shards=unit.stop, index=unit.start)
        rows = rows if self.documents is None else rows.take(self.documents)
        try:
            for number, row in enumerate(rows, start=1):
                place = partial("data.name={}, row {} of shard {},".format, self.name, number, unit.start + 1)
                if not isinstance(text := row.get(self.field), str):
                    raise UserError(f"{place()} {lacking(row, self.field)}; give data.field=")
                if text:
                    yield encoded(text, place)
        except UserError:
            raise
        except Exception as error:
            raise _refusal(self, error) from None


def _hub_is_reachable() -> bool:
    """Return whether the hub has an address here; its library would try for half a minute."""
    from huggingface_hub import constants

    if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")):
        return True
    url = urlsplit(constants.ENDPOINT)
    try:
        return bool(socket.getaddrinfo(url.hostname, url.port or 443))
    except OSError:
        return False


def _refusal(hub: "HuggingFace", error: Exception) -> Exception:
    """Return an error of `datasets` as one that the user can act on; itself if it is not the user's."""
    if isinstance(error, UserError):
        return error
    named = f"data=hf data.name={hub.name}"
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if names & set(UNREACHABLE):
        return UserError(f"{named} needs the network, which cannot be reached; give a folder that lies here")
    if names & set(NOT_THERE) or isinstance(error, FileNotFoundError):
        return UserError(f"{named} is neither on the hub nor a folder of data here ({first})")
    if isinstance(error, ValueError | KeyError):
        return UserError(f"{named} data.split={hub.split}: {first}")
    return error
