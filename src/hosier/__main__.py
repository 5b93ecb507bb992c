"""`python -m hosier`: the same as the program `hosier`."""

import sys

from hosier.cli import main

sys.exit(main())
