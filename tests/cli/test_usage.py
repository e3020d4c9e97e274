"""From words to calls: what tyro is made to accept, and its mistakes in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vitnas.cli.usage import (
    MaybeFolder,
    MaybeName,
    MaybeNumber,
    Number,
    PositionalName,
    Settings,
    Sizes,
    parse,
    read_sizes,
)
from vitnas.errors import InputError

if TYPE_CHECKING:
    from nowhere import Result  # type: ignore[import-not-found]


def verb(
    source: str,
    folder: Path,
    *,
    data: MaybeName = None,
    output: MaybeFolder = None,
    trials: MaybeNumber = None,
    seed: Number = 0,
    img_size: Sizes = (224,),
    settings: Settings = (),
) -> Result:
    """Do something.

    Args:
        source: where from,
            told at length.
        folder: where to.
        data: a data set.
        output: a folder.
        trials: how many; by default all.
        seed: of everything.
        img_size: of the images.
        settings: a setting.
    """
    return (source, folder, data, output, trials, seed, img_size, settings)


def show(name: PositionalName = None) -> str | None:
    """Show something.

    Args:
        name: what.
    """
    return name


def test_the_call_has_the_types_of_the_verb() -> None:
    call = parse(verb, "vitnas verb", ["a", "b"])
    assert call is not None
    assert call() == ("a", Path("b"), None, None, None, 0, (224,), ())
    words = ["a", "b", "--data", "d", "--output", "o", "--trials", "3", "--img-size", "160", "224"]
    call = parse(verb, "vitnas verb", words)
    assert call is not None
    assert call() == ("a", Path("b"), "d", Path("o"), 3, 0, (160, 224), ())


def test_settings_add_up() -> None:
    call = parse(verb, "vitnas verb", ["a", "b", "--set", "x=1", "--set", "y=2"])
    assert call is not None
    assert call()[-1] == ("x=1", "y=2")


@pytest.mark.parametrize(("words", "name"), [([], None), (["x"], "x"), (["None"], "None")])
def test_optional_positionals(words: list[str], name: str | None) -> None:
    call = parse(show, "vitnas show", words)
    assert call is not None
    assert call() == name


def test_nothing_is_called_before_everything_is_read() -> None:
    def explode(source: str) -> None:
        raise AssertionError

    assert parse(explode, "vitnas explode", ["a"]) is not None
    with pytest.raises(InputError):
        parse(explode, "vitnas explode", ["a", "b"])


@pytest.mark.parametrize("columns", ["20", "80", "200"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a", "missing from vitnas verb: FOLDER where to. (required)"),
        ("a b c", "unrecognized options: c"),
        (
            "a b --max-flops 1G",
            "unrecognized options: --max-flops, 1G; what papers call FLOPs are multiply-adds, macs",
        ),
        (
            "a b --trial 3",
            "unrecognized options: --trial, 3; perhaps you meant: --trials N how many; by default "
            "all",
        ),
        (
            "a b --trials x",
            "error parsing --trials: no type matching INT could be instantiated from ['x']",
        ),
    ],
)
def test_mistakes_take_one_line_however_wide_the_terminal(
    words: str, message: str, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(InputError) as caught:
        parse(verb, "vitnas verb", words.split())
    assert str(caught.value) == f"{message}; see `vitnas verb --help`"


def test_help_is_shown_and_nothing_called(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert parse(verb, "vitnas verb", ["--help"]) is None
    text = capsys.readouterr().out
    assert "SOURCE" in text
    assert "where from, told at length. (required)" in text
    assert "--trials N" in text
    assert re.search(r"how many; by default all\.[ │]*\n", text)
    assert "a setting. (repeatable)" in text


def test_sizes() -> None:
    assert read_sizes((8,)) == (8, 8)
    assert read_sizes((160, 224)) == (160, 224)
    for sizes in ((), (1, 2, 3)):
        message = f"--img-size is {len(sizes)} numbers; it is one, or height and width"
        with pytest.raises(InputError, match=message):
            read_sizes(sizes)
