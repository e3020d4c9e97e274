from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.server import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A process that starts victims."""
    with Server() as running:
        yield running
