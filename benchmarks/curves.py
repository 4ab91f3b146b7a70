"""Loss curves: fitted on three schedules, predicted on six others (the nine of Luo et al. 2025, arXiv:2503.12811).

    ISOFLOP_REFERENCE_DATA=... python benchmarks/curves.py

For a model of 25M and one of 100M parameters: R2 and mean absolute error on the six, beside the printed ones; the
objective on the three; the status, which is honest where the three leave B, C, beta and gamma open.
"""

import os
import time

import numpy as np

from isoflop.analysis.fitting.fit import fit
from isoflop.analysis.tables.schedules import read_curves
from isoflop.errors import UserError

TRAIN = ("constant_24000", "cosine_24000", "wsdcon_9")
TEST = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
# weak: as wide as half the range of the starts of the search
PRIOR = {"beta": (0.5, 0.2), "gamma": (0.6, 0.2)}
PRINTED = {"25": 0.99880, "100": 0.99830}


def main() -> None:
    """Print a line for each size."""
    folder = os.environ.get("ISOFLOP_REFERENCE_DATA")
    if not folder:
        raise UserError("ISOFLOP_REFERENCE_DATA names no folder; set it to where thu-yao-01-luo__MultiPowerLaw lies")
    for size, printed in PRINTED.items():
        train, test = (
            read_curves([f"{folder}/thu-yao-01-luo__MultiPowerLaw/csv_{size}/{name}.csv" for name in names])
            for names in (TRAIN, TEST)
        )
        L = test["L"].to_numpy(float)
        for words, prior in (("", {}), ("with priors, ", PRIOR)):
            begun = time.process_time()
            law = fit(train, "multi_power", interval="none", prior=prior)
            gaps = law.predict(test) - L
            r2 = 1 - (gaps**2).sum() / ((L - L.mean()) ** 2).sum()
            print(
                f"{size}M, {words}R2 {r2:.5f} (printed {printed}), MAE {np.abs(gaps).mean():.5f}, "
                f"objective {law.objective:.6g}, {law.starts.at_optimum} of {law.starts.tried} starts, "
                f"{time.process_time() - begun:.1f} CPU s"
            )
        print(law)


if __name__ == "__main__":
    main()
