"""Several real processes over gloo: the numbers of one, after deaths and with other processes, too.

Each test starts processes that load torch, which takes seconds; so most are slow ones.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.runs import environment, history
from vitnas.train import checkpoint

SCRIPT = Path(__file__).with_name("parallel.py")
FSDP = '{"parallel": "fsdp"}'
STEPS = list(range(1, 21))


def finish(
    folder: Path, sharing: str, settings: str, processes: int = 2, restarts: int = 0, **extra: str
) -> str:
    """Run the script in one process or several to its end; return what it printed."""
    several = [str(processes), str(restarts)] if processes > 1 else []
    command = [sys.executable, str(SCRIPT), str(folder), sharing, settings, *several]
    if restarts:
        extra["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # as docs/distributed.md says
    done = subprocess.run(command, env=environment(**extra), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def steps_of(folder: Path) -> list[int]:
    return [line["step"] for line in history(folder) if line["kind"] == "step"]


def assert_as_one(several: Path, one: Path) -> None:
    """The same lines and weights, the numbers equal in float32 precision."""
    lines, expected = history(several), history(one)
    assert len(lines) == len(expected) == len(STEPS) + 2
    for line, other in zip(lines, expected, strict=True):
        assert line.pop("kind") == other.pop("kind")
        each = other.pop("losses", None)
        assert line.pop("losses", None) == (each and pytest.approx(each, rel=1e-4, abs=1e-6))
        assert line == pytest.approx(other, rel=1e-5)
    ours, theirs = (checkpoint.load(folder / "checkpoints") for folder in (several, one))
    assert ours is not None
    assert theirs is not None
    for part in ("model", "ema"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one process."""
    folder = tmp_path_factory.mktemp("one")
    finish(folder, "prefix", "{}", processes=1)
    return folder


@pytest.mark.parametrize("settings", ["{}", FSDP], ids=["ddp", "fsdp"])
def test_two_processes_train_as_one(tmp_path: Path, one: Path, settings: str) -> None:
    """Without dropout and mixup, whose draws differ by process, the losses are those of one."""
    finish(tmp_path, "prefix", settings)
    assert_as_one(tmp_path, one)


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["{}", '{"sides": "sum_logits"}'], ids=["mean", "sum"])
def test_both_sides_in_two_processes(tmp_path: Path, settings: str) -> None:
    for processes in (1, 2):
        finish(tmp_path / str(processes), "bilateral", settings, processes=processes)
    assert_as_one(tmp_path / "2", tmp_path / "1")


@pytest.mark.parametrize(
    ("parallel", "rank"),
    [
        ("ddp", 1),
        pytest.param("ddp", 0, marks=pytest.mark.slow),
        pytest.param("fsdp", 0, marks=pytest.mark.slow),
        pytest.param("fsdp", 1, marks=pytest.mark.slow),
    ],
)
def test_a_killed_process_is_started_anew_and_the_run_goes_on(
    tmp_path: Path, one: Path, parallel: str, rank: int
) -> None:
    every_step = json.dumps({"checkpoint_minutes": 1e-9, "parallel": parallel})
    printed = finish(tmp_path, "prefix", every_step, restarts=1, DIE_AT=f"13:{rank}")
    assert printed.splitlines() == ["restarts 1"] * 2
    assert steps_of(tmp_path) == STEPS
    assert_as_one(tmp_path, one)


@pytest.mark.slow
def test_shared_out_weights_go_on_in_one_process_and_back(tmp_path: Path, one: Path) -> None:
    """Checkpoints are whole, whoever writes them."""
    settings = '{"checkpoint_minutes": 1e-9, "parallel": "fsdp"}'
    with pytest.raises(AssertionError, match="SIGKILL"):
        finish(tmp_path, "prefix", settings, DIE_AT="7:0")
    assert steps_of(tmp_path) == STEPS[:7]
    with pytest.raises(AssertionError):
        finish(
            tmp_path,
            "prefix",
            settings,
            processes=1,
            DIE_AT="12:0",
            RANK="0",  # as torchrun would set them
            TORCHELASTIC_RESTART_COUNT="0",
        )
    assert steps_of(tmp_path) == STEPS[:12]
    finish(tmp_path, "prefix", settings)
    assert_as_one(tmp_path, one)


def test_slurm_starts_processes_on_two_nodes(tmp_path: Path, one: Path) -> None:
    """Two processes with the environment that srun gives each, the nodes being this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"JOB_ID": "77", "JOB_NAME": "train", "NTASKS": "2", "NNODES": "2", "LOCALID": "0"}
    job |= {"NODELIST": "127.0.0.1", "NTASKS_PER_NODE": "1"}
    common = {f"SLURM_{name}": value for name, value in job.items()}
    command = [sys.executable, str(SCRIPT), str(tmp_path), "prefix", "{}"]
    tasks = [
        subprocess.Popen(
            command,
            env=environment(
                **common, MASTER_PORT=port, SLURM_PROCID=str(rank), SLURM_NODEID=str(rank)
            ),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [task.communicate()[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], errors
    assert_as_one(tmp_path, one)
