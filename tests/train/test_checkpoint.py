from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
import torch

from vitnas.errors import InputError
from vitnas.train import checkpoint


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_returns_what_was_saved_and_keeps_two(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    for step in (8, 9, 10):
        checkpoint.save(tmp_path, step, {"model": {"w": torch.full((2,), float(step))}})
    assert names(tmp_path) == ["step-000000009.pt", "step-000000010.pt"]
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert state["step"] == 10
    assert torch.equal(state["model"]["w"], torch.full((2,), 10.0))
    plain = torch.load(tmp_path / "step-000000010.pt", weights_only=True)
    assert plain["step"] == 10


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "bit":
        content[content.find(b"\x00\x00\x80\x3f" * 8)] ^= 1  # inside a tensor of ones
    damaged = {"truncated": bytes(content[:-100]), "empty": b"", "text": b"hello"}
    path.write_bytes(damaged.get(how, bytes(content)))


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "bit"])
def test_a_damaged_one_is_passed_over_and_named(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"model": torch.ones(100)})
    last = tmp_path / "step-000000002.pt"
    damage(last, how)
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert caplog.messages == [f"checkpoint {last} is damaged, using the one before it"]


def test_none_readable_is_an_error_not_a_new_start(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"model": torch.ones(100)})
    damage(tmp_path / "step-000000001.pt", "truncated")
    torch.save({"other": 1}, tmp_path / "step-000000002.pt")
    with pytest.raises(InputError) as error:
        checkpoint.load(tmp_path)
    message = str(error.value)
    assert message.startswith(f"no checkpoint in {tmp_path} can be read (step-000000002.pt: not a ")
    assert message.endswith("delete the folder to start anew")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"model": Path("anything")})
    with pytest.raises(InputError, match="no checkpoint in"):
        checkpoint.load(tmp_path)


def test_a_file_that_outgrows_the_disk_leaves_the_last_one(tmp_path: Path) -> None:
    """The system itself refuses to write on, as on a full disk."""
    checkpoint.save(tmp_path, 1, {"model": torch.ones(10)})
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match=r"can't write .*step-000000002.pt: File too large"):
            checkpoint.save(tmp_path, 2, {"model": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == ["step-000000001.pt"]


def test_identity() -> None:
    here = {"seed": 1, "optim": {"base_lr": 0.1, "betas": [1, 2]}, "workers": 1, "space": None}
    folder = Path("run")
    checkpoint.check_identity(folder, here, {**here, "workers": 8, "checkpoint_minutes": 1})
    other = {"seed": 2, "optim": {"base_lr": 0.2, "betas": [1, 3]}, "space": {"depth": 1}}
    with pytest.raises(InputError) as error:
        checkpoint.check_identity(folder, here, other)
    assert str(error.value) == (
        "run holds another run (seed was 1, is 2; optim.base_lr was 0.1, is 0.2; "
        "optim.betas was [1, 2], is [1, 3] and 1 more); "
        "restore these settings or choose another folder"
    )
