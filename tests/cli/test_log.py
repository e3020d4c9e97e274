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
