"""Speed and memory of preparing corpora; a killed preparation ends at the same hash.

    python benchmarks/prepare.py CORPUS                        bytes and byte pairs: MB/s of a core, memory
    python benchmarks/prepare.py CORPUS --kills 10             and killed at random ten times
    python benchmarks/prepare.py SOURCES --suffixes .c,.h      the kernel's sources, say

Everything is prepared into a temporary folder, by one process, so that seconds of the processor are those of a core;
on a machine that others use they, and not the wall clock, say how fast it is. Asked for: at least 20 MB/s for bytes and
3 MB/s for byte pairs (their learning apart), memory that does not grow with the corpus.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PREPARE = """
import json, resource, sys, time
from isoflop.scaling.data.corpus import prepare, tokenizer
from isoflop.scaling.config.contents import fingerprint
from isoflop.scaling.data.files import Files
path, suffixes, kind = sys.argv[1], [s for s in sys.argv[2].split(",") if s], sys.argv[3]
learn, spent = tokenizer.learn, [0.0]
def timed(*arguments):
    began = time.process_time()
    learn(*arguments)
    spent[0] += time.process_time() - began
tokenizer.learn = timed
began, wall = time.process_time(), time.monotonic()
fingerprint(path, suffixes)
hashed = time.process_time() - began
prepared = Files(path=path, suffixes=suffixes, tokenizer=kind, vocab_size=4096).prepare(workers=1)
cpu = time.process_time() - began
print(json.dumps({
    "content": prepared.content, "bytes": prepared.manifest["source"]["bytes"], "tokens": prepared.manifest["tokens"],
    "text": sum(prepared.manifest["bytes"].values()), "cpu_s": cpu, "hashing_s": hashed, "learning_s": spent[0],
    "wall_s": time.monotonic() - wall, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""


def start(store: Path, corpus: str, suffixes: str, kind: str) -> "subprocess.Popen[str]":
    """Start a preparation in its own process."""
    env = os.environ | {"ISOFLOP_DATA": str(store), "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PREPARE, corpus, suffixes, kind]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def measure(store: Path, corpus: str, suffixes: str, kind: str) -> tuple[str, float]:
    """Prepare once and print the outcome; return the hash of the result and the time [s]."""
    out = json.loads(start(store, corpus, suffixes, kind).communicate()[0])
    text, cpu = out["text"] / 1e6, out["cpu_s"] - out["learning_s"]
    line = f"{kind:>6}: {text:7.1f} MB of text, {cpu:6.1f} s of a core (hashing {out['hashing_s']:.1f} s): "
    line += f"{text / cpu:6.1f} MB/s; wall {out['wall_s']:.1f} s, {out['memory'] / 1e6:.0f} MB of memory"
    if out["learning_s"]:
        line += f"; learning {out['learning_s']:.1f} s; {text * 1e6 / sum(out['tokens'].values()):.2f} bytes a token"
    print(line, flush=True)
    return out["content"], out["wall_s"]


def kill(store: Path, corpus: str, suffixes: str, kind: str, kills: int, took: float) -> str:
    """Kill the preparation at random times, then let it end; return the hash of the result."""
    rng, done = random.Random(0), 0
    while done < kills:
        shutil.rmtree(store, ignore_errors=True) if not list(store.glob(".*.work")) else None
        process = start(store, corpus, suffixes, kind)
        time.sleep(rng.uniform(0.1, 0.9) * took / 3)
        process.send_signal(signal.SIGKILL)
        done += process.wait() == -signal.SIGKILL
    return str(json.loads(start(store, corpus, suffixes, kind).communicate()[0])["content"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of preparing corpora.")
    parser.add_argument("corpus")
    parser.add_argument("--suffixes", default="", help="further endings of plain text, with commas")
    parser.add_argument("--tokenizers", default="bytes,bpe")
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    for kind in given.tokenizers.split(","):
        with tempfile.TemporaryDirectory(dir=os.environ.get("ISOFLOP_DATA")) as folder:
            content, took = measure(Path(folder) / "whole", given.corpus, given.suffixes, kind)
            if given.kills:
                again = kill(Path(folder) / "killed", given.corpus, given.suffixes, kind, given.kills, took)
                print(
                    f"{kind:>6}: killed {given.kills} times: {'the same hash' if again == content else 'ANOTHER HASH'}"
                )
                if again != content:
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
