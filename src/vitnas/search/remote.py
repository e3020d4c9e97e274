"""A ledger that workers on many machines share: in PostgreSQL, or behind Optuna's gRPC proxy.

The study there is the ledger. The run's own journal follows it, so that reports, `extract` and a
later search without the database find everything in the folder; on each machine one worker sees to
that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vitnas.errors import InputError
from vitnas.search.claims import Busy
from vitnas.search.leases import BEAT, GRACE, Leases
from vitnas.search.ledger import Ledger
from vitnas.search.patience import Patience, reason
from vitnas.search.records import Settings, to_record

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

FORMS = "postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"
ATTEMPTS = 10  # to create the tables, which another worker may be doing


class RemoteLedger(Ledger):
    """A `Ledger` at an address, open for one of its workers; whoever makes the same call joins.

    Its study is named after the folder, what was scored and the space, so copies of a run on
    machines without a common file system share it too.

    Raises:
        InputError: a malformed address, nobody there, or a study of another search.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Settings,
        address: str,
        *,
        beat: float = BEAT,
        grace: float = GRACE,
    ) -> None:
        super().__init__(folder, settings, join=True)
        self._address, self._times = address, (beat, grace)
        self._name = study_name(self.folder.name, self._settings)
        self.place = f"{without_password(address)}, study {self._name!r},"
        self._patience = Patience(self.place)
        self._copy: Ledger | None = None

    def __exit__(self, *exception: object) -> None:
        try:
            if exception[:1] == (None,):
                self.news()  # so that the journal is whole, even if who kept it was killed
        finally:
            super().__exit__(*exception)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Each trial is a transaction of its own here."""
        yield

    def add(self, trial: FrozenTrial) -> int:
        """Add a finished trial, whole or not at all, and return its number."""
        identity = self._patience(self._storage.create_new_trial, self._study_id, trial)
        return self._patience(self._storage.get_trial_number_from_id, identity)

    def _open(self, stack: contextlib.ExitStack) -> None:
        from vitnas.search.journal import open_study

        storage = open_storage(self._address)
        stack.callback(_close, storage)
        self._open_study(storage, self._name)
        open_study(storage, f"{self._name} workers")
        workers = storage.get_study_id_from_name(f"{self._name} workers")
        beat, grace = self._times
        leases = Leases(storage, workers, self._patience, beat=beat, grace=grace)
        self.claims = stack.enter_context(leases)
        self._copies = stack.enter_context(contextlib.ExitStack())
        self._keep(self._trials())

    @property
    def _told(self) -> str:
        return self.place.rstrip(",")

    def _trials(self) -> list[FrozenTrial]:
        return self._patience(self._storage.get_all_trials, self._study_id, deepcopy=False)

    def _fresh(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        fresh = super()._fresh(trials)
        if fresh or self._copy is None:
            self._keep(trials)
        return fresh

    def _keep(self, trials: list[FrozenTrial]) -> None:
        """Bring the journal of the run up to date, unless another process does."""
        if self._copy is None:
            copy = Ledger(self.folder, self._settings)
            try:
                self._copy = self._copies.enter_context(copy)
            except Busy:
                return
            trials = self._trials()  # who kept it until now may have copied later ones
        kept = self._copy.records()
        if len(kept) > len(trials) or (
            kept and kept[-1].arch != to_record(self.place, trials[len(kept) - 1]).arch
        ):
            raise InputError(
                f"{self._copy.place} has trials that {self.place} has not; go on without --ledger, "
                "or use another --name"
            )
        if len(kept) < len(trials):
            with self._copy.together():
                for trial in trials[len(kept) :]:
                    self._copy.add(trial)


def study_name(name: str, settings: Settings) -> str:
    """Return the name under which workers anywhere find the same search."""
    told = json.dumps([settings.space.to_dict(), settings.evaluated_on, settings.scorer])
    return f"{name} {hashlib.sha256(told.encode()).hexdigest()[:12]}"


def without_password(address: str) -> str:
    """Return an address as it may be shown and stored."""
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")
    user = place[0].partition(":")[0]
    return f"{parts.scheme}://{user}{place[1]}{place[2]}{parts.path}"


def check_address(address: str) -> None:
    """Check the form of an address.

    Raises:
        InputError: it has another one.
    """
    parts = urlsplit(address)
    try:
        fine = bool(parts.hostname and parts.port and parts.path in ("", "/"))
    except ValueError:  # a port that is none
        fine = False
    if parts.scheme in ("postgresql", "postgres"):
        fine = len(parts.path) > 1
    elif parts.scheme != "grpc":
        fine = False
    if not fine:
        raise InputError(f"ledger {without_password(address)!r} must look like {FORMS}")


def open_storage(address: str) -> BaseStorage:
    """Return the storage at an address.

    Raises:
        InputError: a malformed address, a driver that is not installed, or nobody there.
    """
    check_address(address)
    shown, scheme = without_password(address), urlsplit(address).scheme
    try:
        return _grpc(address) if scheme == "grpc" else _postgresql(address)
    except ImportError as error:
        extra = "grpc" if scheme == "grpc" else "postgresql"
        raise InputError(f"{shown} needs another package: pip install 'vitnas[{extra}]'") from error
    except Exception as error:
        raise InputError(f"can't reach {shown}: {reason(error)}") from error


def _postgresql(address: str) -> BaseStorage:
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    url = make_url(address).set(drivername="postgresql+psycopg")
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 2}
    options["connect_args"] = {"connect_timeout": 10, "client_encoding": "utf8"}
    full = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    for attempt in range(ATTEMPTS):
        try:
            return get_storage(RDBStorage(full, engine_kwargs=dict(options)))
        except (IntegrityError, ProgrammingError):  # another worker creates the tables just now
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.05, 0.5))
    raise AssertionError


def _grpc(address: str) -> BaseStorage:
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import GrpcStorageProxy

    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = GrpcStorageProxy(host=parts.hostname, port=parts.port)
    storage.wait_server_ready(timeout=10)
    return storage


def _close(storage: BaseStorage) -> None:
    backend = getattr(storage, "_backend", None)
    if backend is not None:
        backend.engine.dispose()
    elif hasattr(storage, "close"):
        storage.close()
