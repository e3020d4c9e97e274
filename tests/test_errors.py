"""Messages of errors: one line of no great length, and that for an unknown name."""

from __future__ import annotations

import pytest

from vitnas.errors import InputError, unknown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a  b\nc\r\nd\u2028e", "a  b c d e"),
        ("\x1b[31mred\x00\u202e", r"\x1b[31mred\x00\u202e"),
        ("x" * 2_000, "x" * 2_000),
    ],
)
def test_a_message_is_one_line_that_steers_no_terminal(given: str, shown: str) -> None:
    assert str(InputError(given)) == shown


@pytest.mark.parametrize("filling", ["x", "\n", "\x00"])
def test_of_a_long_message_the_start_and_the_end_are_kept(filling: str) -> None:
    message = str(InputError(f"start{filling * 2_000}end"))
    assert message.startswith("start")
    assert message.endswith("end")
    assert " ... " in message
    assert message.isprintable()
    assert len(message) <= 2_000


def test_the_nearest_name_is_offered() -> None:
    error = unknown("space", "tinny", ["tiny", "small"])
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)
    assert str(error) == "unknown space 'tinny'; did you mean 'tiny'? (allowed: small, tiny)"


def test_nothing_near() -> None:
    assert str(unknown("space", 7, ["tiny"])) == "unknown space 7 (allowed: tiny)"


def test_of_many_names_only_the_nearest_are_listed() -> None:
    names = [f"model{i}" for i in range(100)]
    assert str(unknown("model", "modl7", names)).startswith(
        "unknown model 'modl7'; did you mean 'model7'? (100 are known; nearest: model7, model"
    )
    assert str(unknown("model", "zzz", names)) == "unknown model 'zzz' (100 are known)"
