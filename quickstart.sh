#!/bin/sh
# The whole journey in two to four minutes: train, search, extract, fine-tune, evaluate, report.
. "$(dirname "$0")/scripts/setup.sh"
exec .venv/bin/vitnas quickstart "$@"
