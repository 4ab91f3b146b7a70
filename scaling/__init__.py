"""One config becomes records: data, families, recipes, probes, and the loop that trains (the part that needs torch).

Yamls and code of extensions, and the frozen configs of finished runs, name modules as they were called when written.

    present("isoflop.scaling.data.generated.copy.Copy")        # 'isoflop.scaling.data.synthetic.copy.Copy'
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "isoflop.scaling"
LAYERS = f"{PACKAGE}.families.layers"
# earlier name -> present one, of a module or a package
MOVED = {
    f"{PACKAGE}.data.generated": f"{PACKAGE}.data.synthetic",
    f"{PACKAGE}.data.synthetic.hmm": f"{PACKAGE}.data.synthetic.markov",
    f"{PACKAGE}.data.docs": f"{PACKAGE}.data.text",
    f"{PACKAGE}.data.generator": f"{PACKAGE}.data.base",
    f"{PACKAGE}.data.shards": f"{PACKAGE}.data.files",
    f"{PACKAGE}.probes.base": f"{PACKAGE}.subject",
    f"{PACKAGE}.loop.evaluate": f"{PACKAGE}.evaluate",
    **{f"{PACKAGE}.families.{name}": f"{PACKAGE}.families.references" for name in ("kernel", "linear", "table")},
    f"{PACKAGE}.families.hybrid": f"{PACKAGE}.families.ssm",
    f"{PACKAGE}.families.moe": f"{PACKAGE}.families.transformer",
    **{f"{LAYERS}.{name}": f"{LAYERS}.basic" for name in ("linear", "embedding", "feed_forward", "block", "norms")},
}


def present(name: str) -> str:
    """Return the present dotted name of a module, or of what is in it."""
    for earlier, now in MOVED.items():
        if name == earlier or name.startswith(f"{earlier}."):
            return present(now + name.removeprefix(earlier))
    return name


class _Alias(MetaPathFinder, Loader):
    """Finds a module by its earlier name; the two names are then one module, whose classes exist once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if present(fullname) != fullname else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(present(module.__name__))


if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Alias())  # before any file is looked for
