"""The message for an unknown name."""

from __future__ import annotations

from vitnas.errors import InputError, unknown


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
