"""Read a yaml file that a person wrote: one small sound mapping, without references to itself, read as OmegaConf does.

from isoflop.analysis.claims.claim import FOLDER
read_yaml(FOLDER / "H1.yaml", "claim")      # ({'id': 'H1', ...}, its sha256)
"""

import hashlib
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml  # type: ignore[import-untyped]

from isoflop.errors import UserError
from isoflop.wording import cut

# bytes of a file: a hundred times the longest that ships
MOST_BYTES = 100_000
FLOAT, TIMESTAMP, MERGED = (f"tag:yaml.org,2002:{kind}" for kind in ("float", "timestamp", "merge"))
# with a dot or an exponent; yaml 1.1 asks a number in powers of ten for a dot and a sign, too: 1.0e+18
NUMBER = re.compile(
    r"[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?$|[-+]?\d[\d_]*[eE][-+]?\d+$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The parser in C, where yaml was built with it: ten times as fast."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (TIMESTAMP, FLOAT)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if key.tag != MERGED]
        if len(set(map(str, keys))) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"found duplicate key {twice}", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(FLOAT, NUMBER, list("-+0123456789."))


def read_yaml(file: Path, what: str) -> tuple[dict[str, Any], str]:
    """Return the mapping in a yaml file of a `what`, and its SHA-256; UserError if it is not small and sound."""
    try:
        if not file.is_file():
            raise UserError(f"{file} is not a file; a {what} is one yaml file")
        if file.stat().st_size > MOST_BYTES:
            raise UserError(f"{file} has more than {MOST_BYTES // 1000} kB, too much for a {what}; give another file")
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
    try:
        text = raw.decode()
        # a few lines that repeat a part by its name can stand for more than memory holds
        if "&" in text and any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise UserError(f"{file} refers to another place in itself (*name); write it out")
        data = yaml.load(text, Loader=_Loader)
    except UserError:
        raise
    except Exception as error:  # the parser raises many types, and each means that the text is not sound
        raise UserError(f"{file} is not valid yaml: {cut(' '.join(str(error).split()), 300)}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data) or not data:
        raise UserError(f"{file} is not a mapping of keys; a {what} is written as key: value")
    return data, hashlib.sha256(raw).hexdigest()
