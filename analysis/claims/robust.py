"""What stays decided under other choices of rows and of the objective (`robust:` of a rule).

kept, words = robust(verdicts, rule, Settings(), lambda varied, how: judge_rule(runs, varied, Fits(runs, how)))
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from isoflop.analysis.claims.declare import Untested
from isoflop.analysis.claims.needs import Needs
from isoflop.analysis.claims.region import VerdictKind
from isoflop.analysis.claims.rule import Rule
from isoflop.analysis.claims.verdict import RuleVerdict, SubjectVerdict
from isoflop.analysis.fitting.settings import Settings
from isoflop.wording import number


def robust(
    verdicts: Sequence[SubjectVerdict], rule: Rule, settings: Settings, again: Callable[[Rule, Settings], RuleVerdict]
) -> tuple[list[SubjectVerdict], str]:
    """Return the verdicts, inconclusive where another choice gives another one, and words for those.

    again   judges a rule with other options of a fit

    Untested where no runs are left under a condition, or it names a column that they lack.
    """
    objectives = {"Huber's objective": settings, "weighed squares": replace(settings, loss="l2", weights="auto")}
    # what a whole design needs is asked of the whole: a part spans less
    plain = replace(rule, robust=(), needs=Needs(tuned=rule.needs.tuned))
    kept = {verdict.subject: verdict for verdict in verdicts}
    frail = {}
    for condition, (objective, chosen) in itertools.product(rule.robust, objectives.items()):
        varied = replace(plain, where=" and ".join(filter(None, (rule.where, condition))))
        whole = again(varied, chosen)
        if not whole.subjects:
            raise Untested(f"robust where {condition}: {whole.reason}")
        found = {verdict.subject: verdict for verdict in whole.subjects}
        for subject, one in kept.items():
            absent = SubjectVerdict(rule, subject, VerdictKind.UNTESTED, "it has no runs")
            other = found.get(subject, absent)
            if one.verdict.decided and not _agree(one, other, rule):
                at = other.reason if other.statistic is None else number(other.statistic)
                frail[subject] = f"{other.verdict.word} ({at}) where {condition}, by {objective}"
                reason = f"not robust: {frail[subject]}; {one.reason}"
                kept[subject] = replace(one, verdict=VerdictKind.INCONCLUSIVE, reason=reason)
    words = "".join(f"; {subject} is not robust: {said}" for subject, said in frail.items())
    return [*kept.values()], words


def _agree(one: SubjectVerdict, other: SubjectVerdict, rule: Rule) -> bool:
    """Return whether two verdicts are one; where they say that two differ, in the same direction."""
    differs = (one.verdict is VerdictKind.SUPPORTED) == ((rule.region.expected == "different") != rule.negated)
    turned = np.sign(one.statistic or 0.0) != np.sign(other.statistic or 0.0)
    return one.verdict is other.verdict and not (turned and rule.region.kind == "contrast" and differs)
