"""Completion of the command line in a shell: verbs, options, files, columns of tables, and what Hydra can choose.

eval "$(isoflop --completion bash)"        # or zsh; fish: isoflop --completion fish | source
complete(["--", "train", "family=l"])      # 'family=lstm': candidates for the last word, one a line
"""

from pathlib import Path

from isoflop.errors import UserError
from isoflop.verbs import VERBS

# the words up to the cursor are handed over as one line, since bash takes them apart at = and :
BASH = r"""_isoflop() {
    local IFS=$'\n' line="${COMP_LINE:0:$COMP_POINT}" word="${COMP_WORDS[COMP_CWORD]}" last
    last="${line##* }"
    [[ "$word" == "=" || "$word" == ":" ]] && word=""
    COMPREPLY=($(isoflop --complete "$line" 2>/dev/null))
    # bash has the part before the last = already
    COMPREPLY=("${COMPREPLY[@]#"${last%"$word"}"}")
    [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" == *[=./] ]] && compopt -o nospace
}
complete -o default -F _isoflop isoflop
"""
ZSH = r"""_isoflop() {
    local -a found
    found=("${(@f)$(isoflop --complete "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -Q -S '' -- $found || _files
}
compdef _isoflop isoflop
"""
FISH = r"""function __isoflop
    isoflop --complete (commandline -cp) 2>/dev/null
end
complete -c isoflop -a '(__isoflop)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

# options whose value is a column of the table on the same line, or several with a comma between
OF_COLUMNS = ("--by", "--run", "--axis", "--where", "--columns")
# verbs that take what Hydra can override
OVERRIDES = ("train", "prepare", "plan", "retry")


def script(arguments: list[str]) -> str:
    """Return what a shell evaluates at its start; UserError for an unknown shell."""
    if len(arguments) != 1 or arguments[0] not in SCRIPTS:
        raise UserError(f"--completion {' '.join(arguments)}: give one of {', '.join(SCRIPTS)}")
    return SCRIPTS[arguments[0]]


def complete(arguments: list[str]) -> str:
    """Return candidates for the last word of a command line, one a line."""
    words = " ".join(arguments).lstrip().split(" ")[1:]
    words = [word for word in words[:-1] if word] + words[-1:]
    if not words:
        return ""
    *before, last = words
    return "\n".join(word for word in candidates(before, last) if word.startswith(last))


def candidates(before: list[str], last: str) -> list[str]:
    """Return what the last word could be, given the words before it."""
    if not before:
        return [*VERBS, "--help", "--version", "--completion"]
    if before[-1] in OF_COLUMNS:
        head = last.rpartition(",")[0]
        return [f"{head},{name}" if head else name for name in columns(before)]
    if last.startswith("-"):
        return options(before[0])
    return overrides(before[1:], last) if before[0] in OVERRIDES else []


def columns(words: list[str]) -> list[str]:
    """Return the columns of the first table that is named."""
    import csv

    for word in words:
        if word.endswith(".csv") and Path(word).is_file():
            with open(word, newline="", encoding="utf-8", errors="replace") as file:
                return next(csv.reader(file), [])
    return []


def options(verb: str) -> list[str]:
    """Return the options of a verb."""
    if verb == "train":
        return ["-m", "--multirun", "--cfg", "--config-dir", "--help"]
    import typer

    module = __import__(VERBS[verb][0], fromlist=["app"])
    command = typer.main.get_command(module.app).commands[verb]  # type: ignore[attr-defined]
    return [name for option in command.params for name in option.opts if name.startswith("--")] + ["--help"]


def overrides(before: list[str], last: str) -> list[str]:
    """Return the groups, choices and keys that Hydra completes; of several values, the last is completed."""
    from hydra import initialize_config_module
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra

    head, comma, tail = last.rpartition(",")
    word = f"{last.partition('=')[0]}={tail}" if comma else last
    given = [other for other in before if not other.startswith("-") and "=" in other]
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        words = BashCompletion(loader)._query("train", " ".join([*given, word]) if word else " ".join([*given, ""]))
    words = [name for name in words if "=" in name or name.endswith((".", "/"))]
    return [f"{head},{name.partition('=')[2]}" for name in words] if comma else words
