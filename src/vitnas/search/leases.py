"""Claims for workers on any number of machines: trials of a second study in the same storage.

A worker has one running trial there, with the proposals that it evaluates and a counter that it
raises now and then, its heartbeat. Optuna's own heartbeat knows databases only, not its gRPC proxy,
and compares clocks; here everybody watches with a clock of its own whether the counters move.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from vitnas.search.patience import Patience, is_gone

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

BEAT, GRACE = 5.0, 30.0  # seconds
CLAIM = "claim"  # one attribute: a database stores and reads each by itself


class _Claim(NamedTuple):
    """What a trial of a worker says; `beats` counts its heartbeats."""

    worker: str
    indices: list[int]
    beats: int


class Leases:
    """`Claims` that end when their holder closes them, or has not beaten for `grace` seconds.

    Of two claims of a proposal the one that was stored first holds it. Use it as a context.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study_id: int,
        patience: Patience,
        *,
        beat: float = BEAT,
        grace: float = GRACE,
    ) -> None:
        self._storage, self._study_id, self._patience = storage, study_id, patience
        self._beat, self._grace = beat, grace
        worker = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._claim = _Claim(worker, [], 0)
        self._own: list[int] = []  # ids of the trials of this worker; the last is the present one
        self._beats: dict[int, tuple[int, float]] = {}  # of others: the counter, for how long
        self._looked = time.monotonic()
        self._lost = False
        self._lock, self._end = threading.Lock(), threading.Event()
        self._heart = threading.Thread(target=self._beating, daemon=True)

    def __enter__(self) -> Leases:
        self._renew([])
        self._heart.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._heart.join()
        with contextlib.suppress(Exception):  # it would end by itself, only later
            self._end_trial(self._own[-1], failed=False)

    def look(self, indices: Iterable[int]) -> tuple[int, list[int]]:
        """See `Claims`."""
        claims = self._others()
        workers = {_read(trial).worker for trial in claims} | {self._claim.worker}
        return len(workers), _free(indices, claims)

    def take(self, indices: Iterable[int]) -> list[int]:
        """See `Claims`."""
        wanted = list(indices)
        self._renew(wanted)
        held = _free(wanted, [c for c in self._others() if c._trial_id < self._own[-1]])
        if held != wanted:  # else two that got nothing would wait for each other
            with self._lock:
                self._claim = self._claim._replace(indices=held)
            self._patience(self._tell)
        return held

    def release(self) -> None:
        """See `Claims`; what is recorded needs no claim, and the next claim replaces this one."""

    def lost(self) -> bool:
        """See `Claims`."""
        trial = self._patience(self._storage.get_trial, self._own[-1])
        return self._lost or trial.state.is_finished()

    def _renew(self, indices: list[int]) -> None:
        from optuna.trial import TrialState, create_trial

        with self._lock:
            self._claim = self._claim._replace(indices=indices, beats=0)
            trial = create_trial(state=TrialState.RUNNING, user_attrs={CLAIM: [*self._claim]})
            self._own.append(self._patience(self._storage.create_new_trial, self._study_id, trial))
            self._lost = False
        if len(self._own) > 1:
            self._close(self._own[-2])

    def _others(self) -> list[FrozenTrial]:
        """Return the claims of other workers that live, and end those of workers that don't.

        It takes several looks to take one for dead: who looks may have been asleep itself.
        """
        from optuna.trial import TrialState

        if self._lost:
            self._renew([])
        running = self._patience(
            self._storage.get_all_trials,
            self._study_id,
            deepcopy=False,
            states=(TrialState.RUNNING,),
        )
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, self._grace / 4), now
        found = []
        for trial in running:
            if trial._trial_id in self._own:
                continue
            counter, silent = self._beats.get(trial._trial_id, (-1, 0.0))
            claim = _read(trial)
            same = counter == claim.beats
            silent = silent + passed if same else 0.0
            self._beats[trial._trial_id] = claim.beats, silent
            if silent > self._grace:
                logger.warning("worker %s is gone; others go on", claim.worker)
                self._close(trial._trial_id, failed=True)
            else:
                found.append(trial)
        return found

    def _close(self, identity: int, *, failed: bool = False) -> None:
        self._patience(self._end_trial, identity, failed=failed)

    def _end_trial(self, identity: int, *, failed: bool) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        state, values = (TrialState.FAIL, None) if failed else (TrialState.COMPLETE, [0.0])
        with contextlib.suppress(UpdateFinishedTrialError):  # somebody else was faster
            self._storage.set_trial_state_values(identity, state, values)

    def _beating(self) -> None:
        while not self._end.wait(self._beat):
            try:
                self._tell()
            except Exception as error:
                if not is_gone(error):
                    raise

    def _tell(self) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        with self._lock:
            self._claim = self._claim._replace(beats=self._claim.beats + 1)
            try:
                self._storage.set_trial_user_attr(self._own[-1], CLAIM, [*self._claim])
            except UpdateFinishedTrialError:
                self._lost = True


def _read(trial: FrozenTrial) -> _Claim:
    return _Claim(*trial.user_attrs[CLAIM])


def _free(indices: Iterable[int], claims: Iterable[FrozenTrial]) -> list[int]:
    held = {index for claim in claims for index in _read(claim).indices}
    return [index for index in indices if index not in held]
