"""A family of one's own to begin with: its code, its yaml and the tests that it owes, written into the user's folder.

The files are the blocks of skeleton.md beside this, each under its name.

    write_family("mixer", Path("my_lab"))     # my_lab/mixer.py, my_lab/conf/family/mixer.yaml, my_lab/test_mixer.py
"""

import re
from pathlib import Path
from string import Template

from isoflop.errors import UserError
from isoflop.files import write_text
from isoflop.scaling.config import choices

_BLOCK = re.compile(r"^`(\S+)`\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)


def write_family(name: str, folder: Path) -> list[Path]:
    """Write the files of a new family and return them; UserError if the name is none or taken, or a file exists."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"{name!r} is not a name for a family; use small letters, digits and _, as in my_mixer")
    if not folder.name.isidentifier() or folder.parent != Path():
        raise UserError(f"--in {folder} is not the name of a folder here that Python can import; give one like my_lab")
    if name in choices.names("family"):
        raise UserError(f"a family {name} is there already; choose another name")
    words = {"name": name, "folder": folder.name, "title": name.title().replace("_", "")}
    text = Template((Path(__file__).parent / "skeleton.md").read_text()).substitute(words)
    files = {Path(path): content for path, content in _BLOCK.findall(text)}
    if taken := [path for path in files if path.exists()]:
        raise UserError(f"{taken[0]} exists; it is left as it is: remove it, or choose another name")
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, content)
    return list(files)
