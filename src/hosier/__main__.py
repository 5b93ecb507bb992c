"""`python -m hosier`: the same as the program `hosier`."""

from hosier.cli import leave, main

leave(main())
