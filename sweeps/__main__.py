"""`python -m isoflop.sweeps`: the verbs of runs in a folder."""

import sys

from isoflop.sweeps.verbs import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
