"""kill -9 at random moments: every file is whole, nothing that was safe is lost, all goes on.

The moments are drawn, with a seed, from the time that the work takes undisturbed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

import vitnas
from faults import victims
from faults.server import Server
from train.runs import history, small_net
from train.test_loggers import scalars
from vitnas import files
from vitnas.errors import InputError
from vitnas.folder import WEIGHTS, read_config, read_weights
from vitnas.search.ledger import read
from vitnas.train import checkpoint


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder in memory, if there is such a place: kills spare what the system has not written."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def kill(
    server: Server, victim: str, kills: int, root: Path, check: Callable[[Path], None]
) -> Iterator[Path]:
    """Kill a victim so many times and check its folder each time; yield folders that are done.

    When the work comes to its end before its turn to be killed, it begins anew in another folder.
    """
    draw = random.Random(f"{victim} {kills}")
    whole = server.run(victim, root / "whole")
    assert whole.status == 0
    check(root / "whole")
    done, number = 0, 0
    while done < kills:
        number += 1
        folder, ended = root / f"{number}", False
        while not ended:
            limit = draw.uniform(0, whole.seconds) if done < kills else None
            status = server.run(victim, folder, limit).status
            assert status in (0, -9)
            done += status == -9
            ended = status == 0
            check(folder)
        yield folder


def test_training(server: Server, root: Path) -> None:
    def whole(folder: Path) -> None:
        for path in (folder / "checkpoints").glob("step-*.pt"):
            checkpoint.load_step(path.parent, int(path.stem[5:]))
        for path in (folder / "cache").glob("[!.]*"):
            assert path.stat().st_size > 0

    for folder in kill(server, "train", 16, root, whole):
        assert history(folder) == history(root / "whole")
        assert [step for step, _ in scalars(folder, "loss")] == list(range(1, 9))
        ours, theirs = (checkpoint.load(f / "checkpoints") for f in (folder, root / "whole"))
        assert ours is not None
        assert theirs is not None
        for part in ("model", "ema"):
            for name, tensor in theirs[part].items():
                assert torch.equal(ours[part][name], tensor), name
        left = [path.name for path in (folder / "checkpoints").iterdir()]
        assert not [name for name in left if name.endswith(".tmp")]


def loads(folder: Path) -> bool:
    """Whether a model is whole; what was not saved to its end is refused."""
    try:
        vitnas.load(folder)
    except InputError as error:
        if "as when saving over another model was interrupted" not in str(error):
            raise
        return False
    return True


def test_saving(server: Server, root: Path) -> None:
    def whole(folder: Path) -> None:
        said = max(victims.safe(folder), default=0)
        if not said and not (folder / "config.json").exists():
            return  # the first one is not finished, which its folder shows
        assert read_config(folder)["kind"] == "supernet"
        values = {float(v) for w in read_weights(folder / WEIGHTS).values() for v in w.unique()}
        assert values in ({said}, {said + 1})
        if said and values == {said + 1} and not loads(folder):
            return  # the weights of the next, whose config is not there yet
        assert loads(folder)

    for folder in kill(server, "save", 50, root, whole):
        assert max(victims.safe(folder)) == victims.SAVES
        assert not list(folder.glob(".*.tmp"))


def test_checkpoints(server: Server, root: Path) -> None:
    def whole(folder: Path) -> None:
        steps = sorted(int(path.stem[5:]) for path in folder.glob("step-*.pt"))
        said = max(victims.safe(folder), default=0)
        assert said in (0, *steps), "a checkpoint that was written is gone"
        assert len(steps) <= 4  # two, the best, and the one before that was about to be deleted
        for step in steps:
            for tensor in checkpoint.load_step(folder, step)["model"].values():
                assert torch.equal(tensor, torch.full((128, 128), float(step)))
        if said >= 5:
            best = {number - number % 5 for number in (said, said + 1)}
            assert best & set(steps), "the best is gone"

    for folder in kill(server, "checkpoint", 59, root, whole):
        assert len(list(folder.iterdir())) == 2  # the last is also the best


def models(folder: Path) -> Iterator[Path]:
    """The folders of models that were finished; what was said to be safe is among them."""
    for said in victims.safe(folder):
        assert (folder / f"{said}" / "config.json").is_file()
    for path in folder.glob("*"):
        if (path / "config.json").is_file():
            yield path
        else:
            with pytest.raises(InputError, match="is no model folder"):
                vitnas.load(path)


def test_extraction(server: Server, root: Path) -> None:
    net = small_net()
    made = {str(number): net.extract(arch) for number, arch in enumerate(victims.ARCHS)}
    expected = {name: model.state_dict() for name, model in {**made, "supernet": net}.items()}

    def whole(folder: Path) -> None:
        for path in models(folder):
            state = read_weights(path / WEIGHTS)
            for name, tensor in expected[path.name].items():
                assert torch.equal(state[name], tensor)

    for folder in kill(server, "extract", 15, root, whole):
        assert len(list(models(folder))) == len(victims.ARCHS) + 1
        assert all(map(vitnas.load, models(folder)))


def test_conversion(server: Server, root: Path) -> None:
    def whole(folder: Path) -> None:
        for path in models(folder):
            state = read_weights(path / WEIGHTS)
            assert all(tensor.isfinite().all() for tensor in state.values())
            assert files.read_json(path / "config.json")["provenance"]["source"] == "cream"

    for folder in kill(server, "convert", 15, root, whole):
        for path in (root / "whole").iterdir():
            written = (folder / path.name / "model.safetensors").read_bytes()
            assert written == (path / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("victim", "to", "kills"),
    [("export", "timm", 8), pytest.param("export_onnx", "onnx", 4, marks=pytest.mark.slow)],
)
def test_export(victim: str, to: str, kills: int, server: Server, root: Path) -> None:
    """The exported folder is there as a whole, each of its files, or not at all."""

    def whole(folder: Path) -> None:
        assert set(victims.safe(folder)) <= {0}
        if not (folder / to).exists():
            assert not victims.safe(folder), "an export is lost"
            return
        for path in (root / "whole" / to).iterdir():
            written = folder / to / path.name
            assert written.read_bytes() == path.read_bytes()

    for folder in kill(server, victim, kills, root, whole):
        names = [sorted(path.name for path in (f / to).iterdir()) for f in (folder, root / "whole")]
        assert names[0] == names[1]
        assert sorted(path.name for path in folder.iterdir()) == ["model", to]


def test_search(server: Server, root: Path) -> None:
    def whole(folder: Path) -> None:
        if not victims.safe(folder):
            return  # it may not even have a study
        _, records = read(folder)
        ended = [record.index for record in records if record.state in ("complete", "stopped")]
        assert len(ended) == len(set(ended)), "a trial counts twice"
        assert victims.safe(folder) <= set(ended), "a trial is lost"

    def story(folder: Path) -> list[Any]:
        _, records = read(folder)
        ended = [record for record in records if record.state == "complete"]
        return sorted((record.index, record.arch.to_json(), record.score) for record in ended)

    for folder in kill(server, "search", 50, root, whole):
        assert story(folder) == story(root / "whole")
        assert len(story(folder)) == victims.TRIALS
