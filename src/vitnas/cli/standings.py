"""What `vitnas runs show` and `vitnas runs compare` print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vitnas.arch import Scalar
from vitnas.cli.log import say, table
from vitnas.commands import Command
from vitnas.errors import InputError
from vitnas.report.figures.style import plain, quantity
from vitnas.rounds import Rounds, rounds_of
from vitnas.runs import size, working_in
from vitnas.standing import Search, Standing, Training, ago, duration, standing, whole_number

if TYPE_CHECKING:
    from vitnas.search.ledger import Record

BEST = 5


def show(run: Path) -> None:
    """Print where a run stands, and the best architectures of its searches."""
    where, rounds = _standing(run), rounds_of(run, _planned_of_round)
    facts = list(_facts(where, rounds))
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        say(f"{name:<{width}}  {text}")
    if rounds is not None and rounds.evaluation is not None:
        _show_best(rounds.evaluation, f"best of {_words(rounds.evaluation.name)}")
    for search in (*where.searches, *(rounds.searches if rounds else ())):
        _show_best(search, f"best of search {plain(search.name)}")


def compare(found: Sequence[Path]) -> None:
    """Print where runs stand, a column each."""
    columns = [dict(_compared(run)) for run in found]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "–") for column in columns)] for name in names]
    titles = [plain(run.resolve().name) for run in found]
    table("", ["", *titles], rows, left=1)


def _standing(run: Path) -> Standing:
    first = standing(run, searches=False)
    epochs = None if first.training is None else _planned(run, first.last)
    return standing(run, epochs=epochs)


def _planned_of_round(folder: Path, last: Command | None) -> int | None:
    """Return how many epochs the training of a round of a space evolution is to have."""
    later = whole_number(last, "later_epochs") if last is not None and folder.name != "0" else None
    return _planned(folder, last) if later is None else later


def _planned(run: Path, last: Command | None) -> int | None:
    """Return how many epochs a training is to have: by its recipe, or the command's."""
    from vitnas.cli.quickstart_verb import RECIPE as QUICKSTART
    from vitnas.cli.training import usual_recipe
    from vitnas.run import CONFIG, model_record
    from vitnas.train.reading import load_recipe, parse_override

    try:
        if (run / CONFIG).is_file():
            return load_recipe(run / CONFIG).epochs
        if last is not None and last.words[:1] == ("quickstart",):
            return load_recipe(QUICKSTART).epochs
        if last is None or "recipe" not in last.arguments:
            return None
        with working_in(last.cwd):
            changes = dict(map(parse_override, last.arguments.get("overrides") or ()))
            recipe = last.arguments["recipe"]
            if recipe is None:
                source = Path(str(last.arguments.get("model")))
                recipe = usual_recipe(model_record(source))
            return load_recipe(recipe, **changes).epochs
    except (InputError, OSError):  # the file of the recipe is gone
        return None


def _facts(where: Standing, rounds: Rounds | None) -> Iterator[tuple[str, str]]:
    yield "run", f"{plain(where.folder.resolve(), 300)} ({bytes_of(size(where.folder))})"
    if where.last is not None:
        yield "last command", f"{words_of(where.last)} ({_told(where.last, where.state)})"
    if where.training is not None:
        yield "training", _training(where.training, running=where.state == "running")
    if rounds is not None:
        yield from _evolution(rounds, running=where.state == "running")
    for search in where.searches:
        yield f"search {plain(search.name)}", _search(search, running=where.state == "running")
    if where.models:
        yield "models", plain(", ".join(where.models), 300)
    for fault in (*where.faults, *(rounds.faults if rounds else ())):
        yield "can't be read", plain(fault, 300)


def _evolution(rounds: Rounds, *, running: bool) -> Iterator[tuple[str, str]]:
    name = f"round {rounds.number}"
    last = "" if rounds.most is None else f", at most up to {rounds.most}"
    parts = [f"{name}{last}"]
    if running and rounds.seconds_left is not None:
        for_what = "" if rounds.evaluated else " for the trainings"
        parts.append(f"at most {duration(rounds.seconds_left)} left{for_what}")
    yield "space evolution", ", ".join(parts)
    if rounds.training is not None:
        yield f"training of {name}", _training(rounds.training, running=running)
    if rounds.evaluation is not None:
        yield (
            f"subnets of {_words(rounds.evaluation.name)}",
            _search(rounds.evaluation, running=running),
        )
    for search in rounds.searches:
        yield f"search {plain(search.name)}", _search(search, running=running)


def _words(name: str) -> str:
    return plain(name.replace("-", " "))


def words_of(command: Command) -> str:
    """Return a command as it can be typed."""
    import shlex

    return plain(f"vitnas {shlex.join(command.words)}", 400)


def _told(command: Command, state: str) -> str:
    process = f"process {command.pid} on {plain(command.host)}"
    if state == "running":
        return f"runs as {process}, begun {ago(command.began)}"
    if state == "elsewhere":
        return f"runs as {process} as far as is known, begun {ago(command.began)}"
    if state == "failed":
        state = f"failed with exit code {command.code}"
    if command.ended is None:  # nobody knows when it was killed
        return f"{state}, begun {ago(command.began)}"
    return f"{state} {ago(command.ended)}"


def epochs_of(training: Training) -> str:
    """Return which epoch a training has reached, in words."""
    if training.epochs is None:
        return f"epoch {training.epoch}{', ended' if training.finished else ''}"
    return f"epoch {training.epoch}/{training.epochs}"


def _training(training: Training, *, running: bool) -> str:
    parts = [epochs_of(training), f"step {training.step:,}"]
    if training.loss is not None:
        parts.append(f"loss {training.loss:.4f}")
    parts += [f"{plain(name)} {value:.2f}" for name, value in training.metrics.items()]
    if running and training.seconds_left is not None:
        parts.append(f"{duration(training.seconds_left)} left")
    return ", ".join(parts)


def _search(search: Search, *, running: bool) -> str:
    more = search.trials is not None and search.trials >= search.done  # an earlier command's
    most = "at most " if search.planned else ""
    wanted = f" of {most}{search.trials:,}" if more else ""
    parts = [f"{search.done:,}{wanted} trials"]
    parts += [
        f"{count:,} {told}"
        for state, told in (("stopped", "stopped early"), ("failed", "failed"))
        if (count := search.count(state))
    ]
    scores = [record.score for record in search.records if record.state == "complete"]
    if scores:
        parts.append(f"best {max(scores):.2f}")
    parts.append(" and ".join(map(str, search.settings.limits)) or "no limit")
    if running and search.seconds_left is not None:
        parts.append(f"{most}{duration(search.seconds_left)} left")
    elif running and search.planned and search.trials is None:
        parts.append(f"the end of {search.settings.strategy} depends on the scores")
    return ", ".join(parts)


def _show_best(search: Search, title: str) -> None:
    from vitnas.search.answer import ranked
    from vitnas.search.summary import summary

    best = ranked(search.records)[:BEST]
    if not best:
        return
    space = search.settings.space
    genes = list(summary(space, best[0].arch))
    known: tuple[str, ...] = ("params", "macs")
    costs = [name for name in known if name in best[0].metrics]
    costs += [limit.metric for limit in search.settings.limits if limit.metric not in costs]
    rows = [
        [
            str(record.number),
            f"{record.score:.2f}",
            *(_cost(record, name) for name in costs),
            *(_gene(value) for value in summary(space, record.arch).values()),
        ]
        for record in best
    ]
    say("")
    table(title, ["trial", plain(search.settings.scorer), *costs, *genes], rows, left=0)


def _cost(record: Record, name: str) -> str:
    return quantity(record.metrics[name]) if name in record.metrics else "–"


def _gene(value: Scalar) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else plain(value)


def _compared(run: Path) -> Iterator[tuple[str, str]]:
    from vitnas.search.answer import ranked

    where, rounds = _standing(run), rounds_of(run, _planned_of_round)
    yield from _recipe(where.folder)
    yield "last command", where.state or "–"
    if where.training is not None:
        yield "training", epochs_of(where.training)
        if where.training.loss is not None:
            yield "loss", f"{where.training.loss:.4f}"
        for name, value in where.training.metrics.items():
            yield plain(name), f"{value:.2f}"
    if rounds is not None:
        yield "space evolution", f"round {rounds.number}"
    for search in (*where.searches, *(rounds.searches if rounds else ())):
        name = f"search {plain(search.name)}"
        yield f"{name}: trials", f"{search.done:,}"
        yield f"{name}: limits", " and ".join(map(str, search.settings.limits)) or "none"
        if best := ranked(search.records)[:1]:
            yield f"{name}: best {plain(search.settings.scorer)}", f"{best[0].score:.2f}"
            for cost in ("params", "macs"):
                if cost in best[0].metrics:
                    yield f"{name}: its {cost}", quantity(best[0].metrics[cost])
    for model, record in where.models.items():
        top1 = ((record.get("metrics") or {}).get("test") or {}).get("top1")
        if isinstance(top1, int | float):
            yield f"model {plain(model)}: top-1 on test", f"{top1:.2f}"


def _recipe(run: Path) -> Iterator[tuple[str, str]]:
    """Yield what a recipe says on one line each: data, space, length and seed."""
    from vitnas import files
    from vitnas.run import CONFIG

    try:
        record = files.read_yaml(run / CONFIG)
    except InputError:
        return
    for name in ("data", "space", "epochs", "batch_size", "seed", "precision"):
        value = record.get(name) if isinstance(record, dict) else None
        if value is not None:
            yield name, plain(value.get("family", value) if isinstance(value, dict) else value)


def bytes_of(count: int) -> str:
    """Return a number of bytes with its unit."""
    return f"{quantity(count)}B" if count >= 1000 else f"{count} B"
