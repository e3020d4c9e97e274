"""What is printed where: results on standard output, the log on standard error."""

from __future__ import annotations

import logging

import pytest

from vitnas.cli.log import logging_to_terminal, say, table


def test_lines_are_printed_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    line = "runs/[bold]a  b/model.safetensors, 12 of 'it' :smile:"
    say(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_tables_have_text_left_and_figures_right(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table("Nets", ["name", "what", "params"], [["[a]", "b", "1,000"], ["long name", "c", "2"]], 2)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "Nets",
        "name       what  params",
        "───────────────────────",
        "[a]        b      1,000",
        "long name  c          2",
    ]


@pytest.mark.parametrize("width", [10, 40, 80])
def test_figures_are_never_cut(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    figures = [f"{10**i:,}" for i in range(12)]
    columns = [f"metric {i}" for i in range(12)]
    table("", ["what it is", *columns], [["a name that is long", *figures]])
    heading, _, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["what", "it", "is", *" ".join(columns).split()]
    assert line.split() == ["a", "name", "that", "is", "long", *figures]


def test_text_is_folded_to_make_room_for_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table("", ["name", "MACs", "in search"], [["a name " * 4, "1,000,000,000", "110,090"]])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "                                      in",
        "name                       MACs   search",
        "────────────────────────────────────────",
        "a name a name a   1,000,000,000  110,090",
        "name a name",
    ]


def test_the_log_goes_to_standard_error_and_is_given_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("vitnas")
    before = logger.level, logger.propagate, list(logger.handlers)
    with logging_to_terminal():
        logging.getLogger("vitnas.train.loop").info("continuing after step %d", 3)
        logging.getLogger("vitnas.train.loop").debug("not shown")
        logging.getLogger("other").info("not shown")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "continuing after step 3\n")
    assert (logger.level, logger.propagate, logger.handlers) == before
