"""One config becomes records: data, families, recipes, probes, and the loop that trains (the part that needs torch)."""

from isoflop.scaling.moved import install

install()
