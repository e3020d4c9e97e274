"""From the words of a command line to the call of a verb, through tyro."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_type_hints

import tyro
from tyro.conf import UseAppendAction, arg

from vitnas.cli.log import terminal
from vitnas.errors import InputError, flops_hint


def _optional(metavar: str) -> Any:
    """Name the value; the help text says what happens without, instead of "(default: None)"."""
    return arg(metavar=metavar, help_behavior_hint="")


Name: TypeAlias = Annotated[str, arg(metavar="NAME")]
Number: TypeAlias = Annotated[int, arg(metavar="N")]
NumberOrAuto: TypeAlias = Annotated[int | Literal["auto"], arg(metavar="N")]
MaybeName: TypeAlias = Annotated[str | None, _optional("NAME")]
MaybeNumber: TypeAlias = Annotated[int | None, _optional("N")]
MaybeQuantity: TypeAlias = Annotated[str | None, _optional("N")]
MaybeRoot: TypeAlias = Annotated[str | None, _optional("FOLDER")]
MaybeFolder: TypeAlias = Annotated[Path | None, _optional("FOLDER")]
MaybeFile: TypeAlias = Annotated[Path | None, _optional("FILE")]
PositionalName: TypeAlias = Annotated[str | None, tyro.conf.Positional, _optional("[NAME]")]
PositionalFolder: TypeAlias = Annotated[Path, tyro.conf.Positional, arg(metavar="[FOLDER]")]
PositionalNames: TypeAlias = Annotated[tuple[str, ...], tyro.conf.Positional, _optional("[NAME]")]
Action: TypeAlias = Annotated[
    Literal["list", "show", "stop", "resume", "delete", "compare"],
    tyro.conf.Positional,
    arg(metavar="[ACTION]"),
]
Sizes: TypeAlias = Annotated[tuple[int, ...], _optional("HEIGHT [WIDTH]")]
Settings: TypeAlias = Annotated[
    tuple[str, ...],
    UseAppendAction,
    arg(name="set", metavar="FIELD=VALUE", help_behavior_hint="(repeatable)"),
]
Names: TypeAlias = Annotated[
    tuple[str, ...], UseAppendAction, arg(metavar="NAME", help_behavior_hint="(repeatable)")
]
Measures: TypeAlias = Annotated[
    tuple[str, ...],
    UseAppendAction,
    arg(metavar="FIELD=VALUE", help_behavior_hint="(repeatable)"),
]
Least: TypeAlias = Annotated[
    tuple[str, ...],
    UseAppendAction,
    arg(name="min", metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
]
Most: TypeAlias = Annotated[
    tuple[str, ...],
    UseAppendAction,
    arg(name="max", metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
]


def read_sizes(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width from one number, which is both, or two.

    Raises:
        InputError: there are none, or more.
    """
    if len(sizes) not in (1, 2):
        raise InputError(f"--img-size is {len(sizes)} numbers; it is one, or height and width")
    return sizes[0], sizes[-1]


_CONFIG = (
    tyro.conf.PositionalRequiredArgs,
    tyro.conf.FlagConversionOff,
    tyro.conf.DisallowNone,
)


def parse(verb: Callable[..., Any], prog: str, args: Sequence[str]) -> partial[Any] | None:
    """Return the call that the words ask for; None if they asked for help, which is then shown.

    Raises:
        InputError: the words don't fit the verb, in one line.
    """
    shown, refused = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(refused):
            call: partial[Any] = tyro.cli(_caller(verb), prog=prog, args=args, config=_CONFIG)
    except SystemExit as stop:
        if stop.code:
            said = _one_line(refused.getvalue())
            raise InputError(f"{said}{flops_hint(said)}; see `{prog} --help`") from None
        _show(shown.getvalue())
        return None
    return call


def _show(text: str) -> None:
    """Print tyro's help, of which tyro does not wrap the text above the options."""
    from rich.text import Text

    output = terminal()
    for line in Text.from_ansi(text.rstrip()).wrap(output, output.width):
        line.rstrip()
        output.print(line)


def _caller(verb: Callable[..., Any]) -> Callable[..., partial[Any]]:
    """Return a function with the verb's arguments that returns the call instead of doing it.

    It has no annotation of the result: tyro resolves all, and that one would bring torch.
    """

    def caller(*args: Any, **kwargs: Any) -> partial[Any]:
        return partial(verb, *args, **kwargs)

    signature = inspect.signature(verb)
    vars(caller)["__signature__"] = signature.replace(return_annotation=signature.empty)
    caller.__annotations__ = {n: t for n, t in verb.__annotations__.items() if n != "return"}
    hints = get_type_hints(caller, verb.__globals__, include_extras=True)
    for name, parameter in signature.parameters.items():
        if parameter.default is parameter.empty:  # tyro would name it after its type
            hints[name] = Annotated[hints[name], arg(metavar=name.upper())]
    caller.__annotations__ = hints
    # tyro would keep the line breaks inside the text of an argument
    caller.__doc__ = re.sub(r"\n {8,}", " ", inspect.getdoc(verb) or "")
    return caller


def _one_line(box: str) -> str:
    """Return what tyro says in a box, without its title, its details and its own hint at --help."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", box)
    lines = [line.strip(" │╭╮╰╯") for line in plain.splitlines()[1:]]
    parts = re.split(r"^[─-]{4,}$", "\n".join(lines), flags=re.MULTILINE)
    said = [" ".join(part.partition("Got errors:")[0].split()).rstrip(".") for part in parts]
    return "; ".join(part[:1].lower() + part[1:] for part in said if not _ASIDE.match(part))


_ASIDE = re.compile(r"$|For full helptext|Argument helptext")
