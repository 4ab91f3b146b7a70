"""The verbs of scaling beside train: prepare, new.

isoflop prepare data=files data.path=corpus data.tokenizer=bpe

It prepares what a run of the same overrides would prepare first, so that a sweep need not.
"""

import json
import re
import sys
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from isoflop.command import run
from isoflop.errors import UserError
from isoflop.extensions import take
from isoflop.files import write_text
from isoflop.scaling.config import choices

_BLOCK = re.compile(r"^`(\S+)`\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)

# words that are not options are overrides for Hydra
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}


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


@app.callback()
def verbs() -> None:
    """Prepare what runs need, and begin what is your own."""


@app.command("new")
def new_command(
    kind: Annotated[str, typer.Argument(help="What to begin: family", show_default=False)],
    name: Annotated[str, typer.Argument(help="Its name, as in family=NAME", show_default=False)],
    folder: Annotated[Path, typer.Option("--in", help="Your folder, made if it is missing")] = Path("my_lab"),
) -> None:
    """Write a working family of your own into your folder, with its yaml and the tests that it owes.

    - `isoflop new family my_mixer`
    - `isoflop new family my_mixer --in my_lab` - then replace its Mixer, and run its test
    """

    if kind != "family":
        raise UserError(f"isoflop new {kind}: only a family can be begun; docs/adding.md has what else can be added")
    code, *others = write_family(name, folder)
    print("\n".join([f"wrote {code}: replace its Mixer", *(f"wrote {path}" for path in others)]))
    print(f"then: python -m pytest {others[-1]}")
    print(f"      isoflop train isoflop.extensions=[{folder}] family={name} budget.D=1e5")


@app.command("prepare", context_settings=EXTRA)
def prepare_command(
    context: typer.Context,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one per core.", min=1)] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read what is there and compare every hash.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the manifest, on stdout.")] = False,
) -> None:
    """Tokenise a corpus once, into shards that runs map into memory; a run prepares what is missing by itself.

    Takes the `data` overrides of `isoflop train`. The source is only read. The result goes into the folder named by
    the environment variable ISOFLOP_DATA, else into the user's cache: tokens, tokeniser, and a manifest with documents,
    tokens, split, hashes and licence. After a kill, the same command continues where it stopped.

    Example:  isoflop prepare data=files data.path=corpus data.tokenizer=bpe data.vocab_size=4096

    Example:  isoflop prepare data=hf data.name=roneneldan/TinyStories data.documents=100000
    """
    from isoflop.scaling.data.tokens import Tokens

    if unknown := [word for word in context.args if word.startswith("-")]:
        raise UserError(f"{unknown[0]} is not an option of prepare; see isoflop prepare --help")
    name, dataset = _composed(take(context.args))
    if not isinstance(dataset, Tokens):
        raise UserError(f"data={name} is generated when needed, not prepared; prepare takes data=text, files or hf")
    prepared = dataset.prepare(workers)
    for other in dataset.others.values() if dataset.held_out else ():
        print(f"{other.folder}: held out", file=sys.stderr)
    if verify:
        prepared.verify()
    if as_json:
        print(json.dumps(prepared.manifest))
        return
    tokens = prepared.manifest["tokens"]
    sizes = f"{tokens['train']} tokens to train on, {tokens['held_out']} held out"
    checked = ", every hash verified" if verify else ""
    print(f"{prepared.folder}: {sizes}, content {prepared.content}{checked}", file=sys.stderr)


def _composed(overrides: list[str]) -> tuple[str, object]:
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    from isoflop.scaling.config import choices
    from isoflop.scaling.config.composed import register_resolvers, whole_as_int
    from isoflop.scaling.limits import refuse_words

    refuse_words(overrides)
    if wrong := [word for word in overrides if not word.lstrip("+~").startswith(("data=", "data."))]:
        raise UserError(f"{wrong[0]} is not an override of data; prepare takes data=NAME and data.KNOB=VALUE")
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", overrides, return_hydra_config=True)
    name = str(cfg.hydra.runtime.choices["data"])
    node = whole_as_int(OmegaConf.to_container(cfg.data, resolve=True))
    return name, choices.build("data", name, {key: value for key, value in node.items() if not key.startswith("_")})


def main(arguments: list[str]) -> int:
    """Run a verb and return its exit code; bad input is one sentence and 2."""
    return run(app, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
