"""Text in Markdown, where what came from outside can't become markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def plain(value: object) -> str:
    """Return text in one line that Markdown shows as it is, in tables too."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]<>|&#~$])", r"\\\1", line)


def fenced(text: str, language: str = "") -> str:
    """Return a block of code; its fence is longer than any run of backticks inside."""
    runs = [len(run) for run in re.findall(r"`+", text)]
    fence = "`" * max(3, *(length + 1 for length in [2, *runs]))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; its cells are plain text."""
    lines = [head, ["---"] * len(head), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
