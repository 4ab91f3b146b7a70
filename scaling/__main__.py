"""`python -m isoflop.scaling`: as `isoflop train`."""

import sys

from isoflop.scaling.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
