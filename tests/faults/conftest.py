from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from faults.server import Server


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A process that starts victims."""
    with Server() as running:
        yield running
