"""What a study's claims ask of its runs, before any of them is made: the columns, a law that they identify, and power.

check(study.load_claims(), plan(["study=demo"]).design)        # UserError where a claim cannot be right
for one in powers(study.load_claims(), plan(["study=demo"]).design): print(one)
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from isoflop.errors import UserError
from isoflop.scaling.config import identity
from isoflop.scaling.config.columns import columns, rung_of_mark
from isoflop.scaling.config.frozen import FrozenConfig
from isoflop.scaling.config.sections import RunPlan
from isoflop.sweeps import costs, workers

if TYPE_CHECKING:
    import pandas as pd

    from isoflop.analysis.claims.claim import Claim
    from isoflop.analysis.claims.planned.power import ClaimPower


def design(configs: Sequence[FrozenConfig], plans: Sequence[RunPlan]) -> "pd.DataFrame":
    """Return a row for each mark of each planned run: the columns of its record that are known before it is made.

    `attrs["probes"]` has the probes that a run asks for, each with the keys of its scalars.
    """
    import pandas as pd

    rows = [row for config, plan in zip(configs, plans, strict=True) for row in marks(config, plan)]
    table = pd.DataFrame(rows)
    probing = list({tuple(config.probe): config for config in configs if config.probe}.values())
    table.attrs["probes"] = workers.call("isoflop.scaling.estimate:probe_keys", probing) if probing else {}
    return table


def marks(config: FrozenConfig, plan: RunPlan) -> list[dict[str, Any]]:
    """Return the rows of one run."""
    size = config.data.get("size")
    known = columns(config) | {"N": plan.N, "lr": plan.lr, "batch": plan.batch}
    rows = []
    for at, mark in enumerate(plan.marks, start=1):
        own = {"mark": at, "D": mark.D, "C": mark.C, "flops_per_target": mark.C / mark.D if mark.D else None}
        own |= {f"budget.{config.budget.name}": mark.value, "D_unique": min(mark.D, size or mark.D)}
        rows.append(known | own | rung_of_mark(config, mark.value))
    return rows


def check(claims: "Iterable[Claim]", planned: "pd.DataFrame") -> None:
    """Refuse a claim that names a column which the runs will not have, or a law that their design cannot identify."""
    from isoflop.analysis.claims.planned.power import refusal

    for claim in claims:
        if sentence := refusal(claim, planned, planned.attrs.get("probes", {})):
            raise UserError(sentence)


def powers(claims: "Iterable[Claim]", planned: "pd.DataFrame") -> "list[ClaimPower]":
    """Return the power of every claim on the planned runs, remembered."""
    from isoflop.analysis.claims.planned.power import ClaimPower, power

    results, shown = list[ClaimPower](), planned.drop(columns=["git", "dirty", "sources", "sweep"], errors="ignore")
    known, design = costs.remembered("powers.json"), identity.digest(shown.to_csv(index=False))
    for claim in claims:
        key = identity.digest([design, claim.sha256])[:16]
        if key not in known:
            known[key] = [vars(one) for one in power(planned, claim)]
            costs.remember("powers.json", {key: known[key]})
        results += [ClaimPower(**one) for one in known[key]]
    return results
