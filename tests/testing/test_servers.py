from __future__ import annotations

from pathlib import Path

import pytest

from vitnas.errors import InputError
from vitnas.testing import servers


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no PostgreSQL."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "DEBIAN", tmp_path)


@pytest.mark.usefixtures("bare")
def test_the_wheel_s_postgresql_runs() -> None:
    with servers.postgres() as server:
        assert server.address.startswith("postgresql://vitnas@/postgres?host=")


@pytest.mark.usefixtures("bare")
def test_what_to_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitnas.testing.servers.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^no PostgreSQL here; install Debian's package postgr"):
        servers.binaries()
