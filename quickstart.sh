#!/bin/sh
# The whole journey in about two minutes: train, search, extract, fine-tune, evaluate, report.
. "$(dirname "$0")/scripts/setup.sh"
exec .venv/bin/vitnas quickstart "$@"
