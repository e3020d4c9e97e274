"""`vitnas search --workers N`: the same search in several processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vitnas.cli.search_setup import Prepared, prepare
from vitnas.search.ledger import TOP1

if TYPE_CHECKING:
    from vitnas.search.ledger import Record


def search_together(
    asked: SimpleNamespace, prepared: Prepared, shown: Callable[[Record], None]
) -> list[Record]:
    """Search with `asked.workers` processes that divide the threads, and the GPUs.

    Raises:
        InputError: no or too few trials, others search there and this one is not to join them,
            another search is there, or a worker's own error.
    """
    import torch

    from vitnas.search.claims import check_alone
    from vitnas.search.ledger import Follower, check_same, read
    from vitnas.search.searcher import check_trials
    from vitnas.search.study import tell_end
    from vitnas.search.workers import run_workers

    check_trials(asked.strategy, prepared.settings.space, asked.trials)
    if asked.join == "off" and asked.ledger is None:
        check_alone(prepared.folder)
    check_same(prepared.folder, prepared.settings)
    prepared.most_trials()  # so that grid search says here, and first, how many are feasible
    threads = max(1, torch.get_num_threads() // asked.workers)
    before = torch.get_num_threads()
    if asked.scorer == TOP1 and asked.batch_size == "auto":
        torch.set_num_threads(threads)
        # measures the batch size once for all: another one may round otherwise
        prepared.scoring.evaluate([prepared.settings.space.smallest], None)
        torch.set_num_threads(before)
    follower = Follower(prepared.folder)

    def watch() -> bool:
        news = follower.news()
        for record in news:
            if record.done:
                shown(record)
        return bool(news)

    words = vars(asked) | {"measure": _measure(asked.measure, prepared.measured.threads)}
    run_workers(partial(_work, asked=words, threads=threads), asked.workers, watch)
    done = [record for record in read(prepared.folder)[1] if record.done]
    tell_end(prepared.settings.strategy, asked.trials, len(done))
    most = len(done) if asked.trials is None else asked.trials
    return sorted((r for r in done if r.index < most), key=lambda record: record.index)


def _measure(given: Sequence[str], threads: int | None) -> list[str]:
    """Return settings to measure with that say the threads, so that workers take the same table."""
    rest = [word for word in given if not word.startswith("threads=")]
    return rest if threads is None else [*rest, f"threads={threads}"]


def _work(place: int, asked: dict[str, Any], threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    device = asked["device"]
    if device in ("auto", "cuda") and torch.cuda.device_count() > 1:
        device = f"cuda:{place % torch.cuda.device_count()}"
    prepare(SimpleNamespace(**{**asked, "device": device})).run(join=True)
