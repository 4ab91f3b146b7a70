"""`python -m isoflop`: the same as the command `isoflop`."""

from isoflop.cli import main

if __name__ == "__main__":
    main()
