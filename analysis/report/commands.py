"""The command that would decide a claim: the study that was laid out for it, or a plan for further runs.

next_command(verdict, Path("runs.csv"))      # 'isoflop study grid'
"""

import shlex
from functools import cache
from pathlib import Path

from isoflop.analysis.claims.claim import FOLDER
from isoflop.analysis.claims.judge import Verdict
from isoflop.analysis.claims.region import VerdictKind

STUDIES = FOLDER.parent / "study"


def next_command(verdict: Verdict, table: Path | None) -> str:
    """The command that would decide an open claim; empty where it is decided, or where none is known."""
    if verdict.verdict.decided:
        return ""
    studies = studies_of().get(verdict.id, [])
    if studies:
        return f"isoflop study {studies[0]}"
    if verdict.verdict is VerdictKind.UNTESTED or verdict.claim is None or not verdict.claim.law or table is None:
        return ""
    return f"isoflop plan --improve 5 --runs {shlex.quote(str(table))} --law {shlex.quote(verdict.claim.law)} -m ..."


@cache
def studies_of() -> dict[str, list[str]]:
    """The studies that judge each claim, those that take the least time first."""
    from omegaconf import OmegaConf

    studies: dict[str, list[tuple[float, str]]] = {}
    for file in sorted(STUDIES.glob("*.yaml")):
        config = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        study = config.get("study") if isinstance(config, dict) else None
        if isinstance(study, dict) and not file.stem.endswith("_quick"):
            for claim in study.get("claims") or []:
                studies.setdefault(str(claim), []).append((float(study.get("minutes") or 0), file.stem))
    return {claim: [name for _, name in sorted(names)] for claim, names in studies.items()}
