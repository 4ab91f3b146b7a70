"""Prose from Debian's documentation packages: real corpora of known licence by apt alone (no torch).

    isoflop prepare data=files data.path=english

after

    python benchmarks/debian.py english -o english
    python benchmarks/debian.py german -o german

Needs a Debian 12 with apt and dpkg-deb, and no rights: packages are downloaded and unpacked in a temporary folder, none
is installed. Markup is stripped, navigation and what stands twice are left out. The folder gets a file of rows for each
package, and LICENCES.json, which a corpus's manifest takes over.

    strip_html("<h1>A title</h1><p>Some <b>bold</b> prose.</p>")            # 'A title' and, below, 'Some bold prose.'
"""

import argparse
import gzip
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from isoflop import files
from isoflop.errors import UserError
from isoflop.scaling.config.contents import LICENCES

# tags whose contents are no prose, classes and ids that are navigation (Sphinx, DocBook, LibreOffice)
SKIPPED_TAGS = {"script", "style", "nav", "header", "footer", "head", "svg", "button", "form", "aside", "iframe"}
NAVIGATION = {
    *("sphinxsidebar", "related", "headerlink", "navheader", "navfooter", "toctree-wrapper", "toc", "search-frame"),
    *("wy-breadcrumbs", "wy-breadcrumbs-aside", "rst-footer-buttons", "wy-nav-side"),
    *("modules", "dropdowns", "contents-treeview", "Contents", "Index", "Bookmarks", "SearchFrame", "DonationFrame"),
}
VOID = {"br", "hr", "img", "input", "link", "meta", "col", "area", "base", "source", "wbr", "embed", "track", "param"}
BLOCKS = {"p", "div", "li", "tr", "pre", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl"}
# pages that list others, and copies of pages in another form
INDEXES = re.compile(r"(?:^|/)(?:genindex|search|py-modindex|bookindex|_sources/|_static/|_images/)")
# a paragraph from this length on is left out where it stands again [characters]: shorter ones recur in good prose
REPEATED = 200
# a page with less is a stub [characters]
STUB = 200


@dataclass(frozen=True)
class Package:
    """A package: which of its files are prose, by a pattern of their path, and how each is stripped."""

    name: str
    pattern: str


CORPORA = {
    "english": [
        Package("linux-doc-6.1", r"/html/(?!translations/).*\.html$"),
        Package("python3.11-doc", r"/html/.*\.html$"),
        Package("perl-doc", r"\.pod$|/man3/.*\.gz$"),
        Package("postgresql-doc-15", r"/html/.*\.html$"),
        Package("libreoffice-help-en-us", r"/text/.*\.html$"),
    ],
    "german": [Package("libreoffice-help-de", r"/text/.*\.html$")],
}


class Prose(HTMLParser):
    """Gathers the prose of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts, self.skipped = list[str](), list[str]()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            self.parts += ["\n"] if tag == "br" and not self.skipped else []
            return
        named = {name for key, value in attributes if key in ("class", "id") for name in (value or "").split()}
        if self.skipped or tag in SKIPPED_TAGS or named & NAVIGATION:
            self.skipped.append(tag)
        elif tag in BLOCKS:
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if self.skipped:
            if tag in self.skipped:  # what was left open ends with what it is in
                while self.skipped.pop() != tag:
                    pass
        elif tag in BLOCKS:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.parts.append(data)


def strip_html(text: str) -> str:
    """Return the prose of a page of HTML."""
    parser = Prose()
    parser.feed(text)
    parser.close()
    return tidy("".join(parser.parts))


def strip_pod(text: str) -> str:
    """Return the prose of Perl's plain old documentation: commands and formatting codes go, what they format stays."""
    text = re.sub(r"^=(?:begin|for)\b.*?(?:^=end\b.*?$|\n\n)", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(
        r"^=(?:head\d|item|over|back|cut|pod|encoding)\b[ \t]*(?:utf-?8|\d+|\*)?[ \t]*", "", text, flags=re.M | re.I
    )
    for _ in range(3):  # codes nest
        text = re.sub(r"\b[IBCFSX]<<+ (.*?) >>+", r"\1", text)
        text = re.sub(r"\bL<(?:([^<>|]*)\|)?([^<>]*)>", lambda match: match[1] or match[2], text)
        text = re.sub(r"\b[XZ]<[^<>]*>", "", text)
        text = re.sub(r"\b[IBCFS]<([^<>]*)>", r"\1", text)
    escapes = {"lt": "<", "gt": ">", "verbar": "|", "sol": "/"}
    return tidy(re.sub(r"\bE<(\w+)>", lambda match: escapes.get(match[1], ""), text))


def strip_roff(text: str) -> str:
    """Return the prose of a manual page: requests and fonts go."""
    text = re.sub(r"^\.\\\".*$|^'\\\".*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\.de\b.*?^\.\.$|^\.ig\b.*?^\.\.$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(
        r"^\.(?:SH|SS|IP|B|I|BR|IX Title)\b[ \t]*(?!Item|Header|Subsection)(.*)$", r"\n\1\n", text, flags=re.M
    )
    text = re.sub(r"^[.'].*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"\\f(?:\(\w\w|\[\w*\]|\w)|\\&|\\\||\\\^|\\s[-+]?\d", "", text)
    text = re.sub(r"\\\*\(C`|\\\*\(C'|\\\*\([LR]\"|\\\*\(--", lambda match: {"-": "-"}.get(match[0][-1], '"'), text)
    signs = {r"\-": "-", r"\(aq": "'", r"\(ga": "`", r"\e": "\\", r"\(co": "©", r"\(bu": "•"}
    for sign, meaning in signs.items():
        text = text.replace(sign, meaning)
    return tidy(text)


def tidy(text: str) -> str:
    """Return lines without space at their end, paragraphs one empty line apart."""
    text = text.replace("\xa0", " ").replace("¶", "")
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return re.sub(r"\n\s*\n+", "\n\n", lines).strip()


def stripped(path: Path) -> str:
    """Return the prose of a file, by its ending."""
    raw = path.read_bytes()
    name = path.name
    if name.endswith(".gz"):
        raw, name = gzip.decompress(raw), name[:-3]
    text = raw.decode("utf-8", errors="replace")
    ways: dict[str, Callable[[str], str]] = {".html": strip_html, ".pod": strip_pod, ".txt": tidy, ".rst": tidy}
    return ways.get(Path(name).suffix, strip_roff)(text)


@dataclass
class Once:
    """Lets every document, and every long paragraph, through once."""

    seen: set[bytes] = field(default_factory=set)
    left_out: int = 0

    def new(self, text: str) -> bool:
        """Return whether a text was not there before."""
        digest = hashlib.sha256(text.encode("utf-8", errors="replace")).digest()[:16]
        if digest in self.seen:
            self.left_out += 1
            return False
        self.seen.add(digest)
        return True

    def thin(self, text: str) -> str:
        """Return a document without the long paragraphs that stood before."""
        paragraphs = text.split("\n\n")
        return "\n\n".join(part for part in paragraphs if len(part) < REPEATED or self.new(part))


def prose(root: Path, package: Package, once: Once) -> Iterator[tuple[str, str]]:
    """Return the documents of an unpacked package: their path in it, and their prose."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if (
            path.is_symlink()
            or not path.is_file()
            or not re.search(package.pattern, "/" + name)
            or INDEXES.search(name)
        ):
            continue
        text = once.thin(stripped(path))
        if len(text) >= STUB and once.new(text):
            yield name, text


def licences(root: Path) -> list[str]:
    """Return the licences in a package's copyright file (Debian's machine-readable form), else its first line."""
    texts = [path.read_text(errors="replace") for path in sorted(root.glob("usr/share/doc/*/copyright"))]
    dep5 = [text for text in texts if text.lstrip().startswith("Format:")]
    names = {name.strip() for text in dep5 for name in re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE)}
    first = [line.strip() for text in texts for line in text.splitlines() if "icen" in line][:1]
    return sorted(names) or first


def download(name: str, folder: Path) -> tuple[Path, str]:
    """Fetch and unpack a package; its root and its version. UserError where apt cannot."""
    try:
        subprocess.run(["apt-get", "download", "-q", name], cwd=folder, check=True, capture_output=True, text=True)
        archive = next(folder.glob(f"{name}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", archive, folder / name], check=True, capture_output=True)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is not there; this corpus is built on a Debian") from None
    except (subprocess.CalledProcessError, StopIteration) as error:
        why = (getattr(error, "stderr", "") or "").strip().splitlines()[-1:] or ["no such file came"]
        raise UserError(
            f"apt-get download {name} failed ({why[0]}); run apt-get update, or see apt-cache policy"
        ) from None
    return folder / name, archive.name.split("_")[1].replace("%3a", ":")


def build(packages: Iterable[tuple[Package, Path, str]], out: Path) -> dict[str, dict[str, object]]:
    """Write a corpus from unpacked packages, each with its version; what is said of each, LICENCES.json."""
    once, about = Once(), dict[str, dict[str, object]]()
    for package, root, version in packages:
        documents = size = 0
        with files.replacing(out / f"{package.name}.jsonl") as draft, draft.open("w", encoding="utf-8") as file:
            for name, text in prose(root, package, once):
                file.write(json.dumps({"text": text, "file": name}, ensure_ascii=False) + "\n")
                documents, size = documents + 1, size + len(text.encode())
        if not documents:
            raise UserError(
                f"{package.name} {version} has no file of the form {package.pattern}: it has been rearranged"
            )
        about[package.name] = {
            "version": version,
            "licences": licences(root),
            "documents": documents,
            "bytes": size,
        }
        print(f"{package.name} {version}: {documents} documents, {size / 1e6:.1f} MB", file=sys.stderr)
    files.write_json(out / LICENCES, about, indent=1)
    return about


def main(arguments: list[str]) -> int:
    """Build one of CORPORA."""
    parser = argparse.ArgumentParser(description="Prose from Debian's documentation packages, stripped of markup.")
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--unpacked", type=Path, help="a folder of packages that are unpacked already, by their names")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        packages = (
            (package, given.unpacked / package.name, "unpacked")
            if given.unpacked
            else (package, *download(package.name, Path(folder)))
            for package in CORPORA[given.corpus]
        )
        try:
            about = build(packages, given.out)
        except UserError as error:
            print(f"isoflop: {error}", file=sys.stderr)
            return 2
    total = sum(float(str(package["bytes"])) for package in about.values())
    print(f"{given.out}: {total / 1e6:.1f} MB; isoflop prepare data=files data.path={given.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
