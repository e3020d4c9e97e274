"""What a user did wrong, told in one line: what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 2_000


class InputError(ValueError):
    """A mistake in what the user gave; the command line prints it as one line and exits with 2.

    What a message quotes can come from a stranger's file: characters that would steer a terminal
    are shown as escapes, and of a message beyond 2,000 characters the start and the end.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        line = "".join(one if one.isprintable() else repr(one)[1:-1] for one in line)
        if len(line) > LONGEST:
            line = f"{line[: LONGEST - 300]} ... {line[-200:]}"
        super().__init__(line)


def flops_hint(said: str) -> str:
    """Return what to add to a message about a name with FLOPs in it, which is none here."""
    return "; what papers call FLOPs are multiply-adds, macs" if "flops" in said.lower() else ""


def unknown(what: str, given: object, allowed: Iterable[str]) -> InputError:
    """The error for a name that is not among `allowed`, with the nearest name that is.

    Of more than 40 names only the five nearest are listed.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(str(given), names, n=5, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if len(names) <= 40:
        meant = flops_hint(str(given)) if "macs" in names else ""
        return InputError(f"unknown {what} {given!r}{hint} (allowed: {', '.join(names)}){meant}")
    nearest = f"; nearest: {', '.join(near)}" if near else ""
    return InputError(f"unknown {what} {given!r}{hint} ({len(names)} are known{nearest})")


def check_type(what: str, given: object, kind: type, hint: str) -> None:
    """Refuse what is not of one of our own types, and tell where such a thing comes from.

    Raises:
        InputError: it isn't.
    """
    if not isinstance(given, kind):
        name, other = kind.__name__, type(given).__name__
        raise InputError(f"{what} is a vitnas.{name}, not a {other}: {hint}")


def check_fields(settings: object, about: str = "", /, **rules: tuple[bool, str]) -> None:
    """Check fields by rules: whether the value is fine, and what is allowed.

    Raises:
        InputError: listing every wrong value.
    """
    wrong = [
        f"{name} is {getattr(settings, name)}, it must be {allowed}"
        for name, (fine, allowed) in rules.items()
        if not fine
    ]
    if wrong:
        raise InputError(about + "; ".join(wrong))
