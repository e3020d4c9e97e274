"""`python -m vitnas` is the command line."""

from vitnas.cli import main

raise SystemExit(main())
