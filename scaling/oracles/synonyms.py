"""Synonyms of the random hierarchy model (G10): the examples by which their classes show that they are synonyms.

Class frequencies of two synonyms, counted over examples, differ by noise alone, those of other tuples by a signal too;
the two are alike from about P* = classes · synonyms^levels examples on (Cagnetta 2023, arXiv:2307.02129, secs. 3-4): of
exponent `levels` in the synonyms alone, and levels + 1 where classes and symbols grow with them. A point is a number of
synonyms or of symbols; `oracle.per_example` is one over the examples at which exchanging synonyms matters half as much
as another exchange.

    {curve.knobs["oracle.axis"] for curve in curves()}        # {'synonyms', 'symbols'}
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from isoflop.scaling.data.base import TRAIN
from isoflop.scaling.data.synthetic.hierarchy import Hierarchy
from isoflop.scaling.oracles.base import SolvedCurve
from isoflop.scaling.oracles.neighbours import Array

LEVELS, BRANCH, SYMBOLS, VERSIONS = 2, 2, 16, 6
SYNONYMS, VOCABULARIES = (3, 4, 6, 8, 11, 15), (6, 8, 11, 16, 22)
EXAMPLES = tuple(int(n) for n in np.geomspace(2**6, 2**19, 40))


def curves() -> Iterator[SolvedCurve]:
    """Yield a curve over synonyms at fixed symbols, and one over symbols where all three are equal."""
    points = [point(SYMBOLS, synonyms) | {"oracle.synonyms": synonyms} for synonyms in SYNONYMS]
    yield SolvedCurve("synonyms", "hierarchy", {"oracle.axis": "synonyms"}, points)
    points = [point(symbols, symbols) | {"oracle.synonyms": symbols} for symbols in VOCABULARIES]
    yield SolvedCurve("synonyms", "hierarchy", {"oracle.axis": "symbols"}, points)


def point(symbols: int, synonyms: int) -> dict[str, Any]:
    """Return the examples at which synonyms differ half as much as other tuples do."""
    drawn = (
        Hierarchy(classes=symbols, symbols=symbols, synonyms=synonyms, branch=BRANCH, levels=LEVELS, version=version)
        for version in range(VERSIONS)
    )
    ratios = np.mean([sensitivity(data) for data in drawn], axis=0)
    examples = float(np.exp(np.interp(-np.log(0.5), -np.log(ratios), np.log(EXAMPLES))))
    return {"D": round(examples), "L": 0.5, "loss_unit": "of another exchange", "oracle.per_example": 1 / examples}


def sensitivity(data: Hierarchy) -> Array:
    """Return how much synonyms at the first position differ in class, relative to other tuples, by examples."""
    x, y = (t.numpy() for t in data.draw(TRAIN, EXAMPLES[-1]))
    digits = data.symbols ** np.arange(BRANCH)
    ways = data.rules()[-1] @ digits  # (features, synonyms)
    place = np.zeros(data.symbols**BRANCH, dtype=int)
    place[ways.ravel()] = np.arange(ways.size)
    words, ratios = place[x[:, :BRANCH] @ digits], []
    kinds = np.repeat(np.arange(len(ways)), ways.shape[1])
    alike = (kinds[:, None] == kinds) & ~np.eye(len(kinds), dtype=bool)
    for n in EXAMPLES:
        cells = np.bincount(words[:n] * data.classes + y[:n, -1], minlength=len(kinds) * data.classes)
        counts = cells.reshape(len(kinds), data.classes)
        frequencies = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        squares = (frequencies**2).sum(axis=1)
        distances = squares[:, None] + squares - 2 * frequencies @ frequencies.T
        ratios.append(distances[alike].mean() / distances[kinds[:, None] != kinds].mean())
    return np.minimum.accumulate(ratios)
