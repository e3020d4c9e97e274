#!/bin/sh
# Lint, types and tests. Arguments go to pytest: `sh test.sh -m slow` runs the long ones.
. "$(dirname "$0")/scripts/setup.sh"
.venv/bin/ruff check .
.venv/bin/ruff format --check --quiet .
.venv/bin/mypy
.venv/bin/mypy benchmarks/*.py  # apart: its search.py and the tests of search have one name
exec .venv/bin/pytest -n auto --dist worksteal "$@"  # each test has one thread
