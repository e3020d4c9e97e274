"""One thread, waiting passively: threads that spin at barriers make a busy machine crawl."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A job that a script starts in the background ignores Ctrl-C, and so would the commands under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A first call imports, and a busy machine sleeps: how long an example takes says nothing.
settings.register_profile("vitnas", deadline=None)
settings.load_profile("vitnas")
