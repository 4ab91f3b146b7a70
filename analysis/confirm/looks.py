"""What a look at unfinished data costs: the chance of a false verdict is spent over planned looks.

The chance of the k-th of K looks is its share of what grows as (k / K)^POWER, the spending family of Kim and DeMets
1987 (doi:10.1093/biomet/74.1.149). The shares add up to the whole, so that Bonferroni's bound holds: however the looks
depend on one another, whatever was bought in between and whenever one stops. A confidence sequence (Howard et al. 2021,
arXiv:1810.08240) needs no plan, but its variance must be known or its runs many; a ladder has six to thirty, whose
noise differs with size, and an interval by Student's t at each look is right with few.

    [round(spent(0.05, look, 3), 4) for look in (1, 2, 3)]      # [0.0056, 0.0167, 0.0278]
"""

# early looks are cheap in chance and rarely decide: benchmarks/confirm_rates.py
POWER = 2.0


def spent(risk: float, look: int, looks: int) -> float:
    """Return what of the chance `risk` of a false verdict the look of this number, from 1, may spend."""
    return risk * ((look / looks) ** POWER - ((look - 1) / looks) ** POWER)
