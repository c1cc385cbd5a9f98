"""The command line: ``python -m sklearn_fairlatent``."""

import sys

from ._audit import main

if __name__ == "__main__":
    sys.exit(main())
