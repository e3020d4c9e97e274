"""One small supernet on digits, trained and searched through the command line, for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from .calling import RECIPE, Result, call

Command: TypeAlias = Callable[..., Result]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `vitnas` in this process: exit code, standard output and standard error."""

    def run(*args: str | Path) -> Result:
        capsys.readouterr()
        code = call(*args)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of two epochs of 19 steps."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run; only for reading."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert call("train", recipe, run, "--device", "cpu") == 0
    return run


@pytest.fixture(scope="session")
def searched(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and searched run with the searched, largest and smallest subnet; for reading."""
    run = tmp_path_factory.mktemp("searched") / "run"
    shutil.copytree(trained, run)
    assert call("search", run, "--strategy", "random", "--trials", "6") == 0
    for arch in ("best", "largest", "smallest"):
        assert call("extract", run, "--arch", arch) == 0
    return run


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """A copy of the searched run."""
    return Path(shutil.copytree(searched, tmp_path / "run"))
