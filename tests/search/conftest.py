from __future__ import annotations

import pytest

from vitnas.search.ledger import Record

from . import interrupted
from .interrupted import RACED, run


@pytest.fixture(scope="session")
def whole_searches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Record]]:
    """The records of the toy search by each strategy."""
    found = {
        strategy: run(tmp_path_factory.mktemp("whole") / "run", strategy)
        for strategy in interrupted.OPTIONS
    }
    for strategy, records in found.items():
        states = {record.state for record in records}
        assert states == {"complete"} | ({"stopped"} if strategy in RACED else set())
    return found
