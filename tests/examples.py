"""The examples in the docstrings of modules: what of a docstring is code, and which names it needs."""

import ast
import builtins
import re
import textwrap
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )?(?:isoflop|python -m isoflop\.\w+) ")


def modules() -> list[Path]:
    """Every module of the four rooms and of the package."""
    rooms = [path for room in ("analysis", "scaling", "sweeps") for path in sorted((ROOT / room).rglob("*.py"))]
    return [*rooms, *sorted((ROOT / "isoflop").glob("*.py"))]


def dotted(path: Path) -> str:
    """The name by which a file is imported."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return name if name.split(".")[0] == "isoflop" else f"isoflop.{name}"


@cache
def paragraphs(path: Path) -> list[str]:
    """What follows the first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return [textwrap.dedent(part) for part in text.split("\n\n")[1:]]


def commands(path: Path) -> list[str]:
    """The command lines of a module's example."""
    lines = [line.strip() for part in paragraphs(path) for line in part.splitlines()]
    return [re.split(r"\s{3,}", line)[0] for line in lines if COMMAND.match(line)]


def example(path: Path) -> str:
    """The Python of a module's example: what of its docstring is Python and does more than name things."""
    blocks = [part for part in paragraphs(path) if _is_code(part)]
    return "\n".join(blocks)


def _is_code(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    acts = (ast.Call, ast.Assign, ast.Import, ast.ImportFrom, ast.Attribute)
    return any(isinstance(node, acts) for node in ast.walk(tree))


def needs(code: str, module: dict[str, object]) -> list[str]:
    """The names that an example uses and neither makes itself nor finds in its module."""
    nodes = list(ast.walk(ast.parse(code)))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {argument.arg for node in nodes if isinstance(node, ast.arguments) for argument in _arguments(node)}
    made |= {
        (a.asname or a.name).split(".")[0] for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names
    }
    used = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return [
        name for name in dict.fromkeys(used) if name not in made and name not in module and not hasattr(builtins, name)
    ]


def _arguments(node: ast.arguments) -> list[ast.arg]:
    return [*node.posonlyargs, *node.args, *node.kwonlyargs]
