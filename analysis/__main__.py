"""`python -m isoflop.analysis`: the verbs that need no torch."""

import sys

from isoflop.analysis.verbs import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
