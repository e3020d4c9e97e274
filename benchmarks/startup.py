"""How long the command line takes to start, to help and to name what is wrong."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any

from common import Work, alternate, arguments, table

COMMANDS: dict[str, tuple[str, ...]] = {
    "python, nothing": ("-c", "pass"),
    "import torch": ("-c", "import torch"),
    "import vitnas": ("-c", "import vitnas"),
    "vitnas --help": ("-m", "vitnas", "--help"),
    "vitnas search --help": ("-m", "vitnas", "search", "--help"),
    "vitnas profile autoformer-tiny": ("-m", "vitnas", "profile", "autoformer-tiny"),
    "unknown verb": ("-m", "vitnas", "trian"),
    "unknown option": ("-m", "vitnas", "search", "run", "--stratgy", "random"),
    "unknown architecture": ("-m", "vitnas", "profile", "nosuch"),
    "unknown space": ("-m", "vitnas", "spaces", "nosuch"),
    "unknown strategy": ("-m", "vitnas", "search", "run", "--strategy", "evolutoin"),
    "unknown recipe": ("-m", "vitnas", "train", "digts", "run"),
    "unknown setting": ("-m", "vitnas", "train", "digits", "run", "--set", "epoch=3"),
    "unknown data set": ("-m", "vitnas", "train", "digits", "run", "--data", "digts"),
}
REFUSED = 2


def process(words: tuple[str, ...], code: int) -> Work:
    """Return the work of a process of its own, which must end with this exit code."""

    def work() -> None:
        done = subprocess.run([sys.executable, *words], capture_output=True)
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}, not {code}")

    return work


def milliseconds(seconds: list[float]) -> tuple[str, str]:
    """Return the median and the range."""
    low, high = min(seconds) * 1e3, max(seconds) * 1e3
    return f"{statistics.median(seconds) * 1e3:.0f}", f"{low:.0f} to {high:.0f}"


def main() -> None:
    """Print milliseconds, and the share of what `import torch` alone takes."""
    parser = arguments(__doc__ or "")
    args: Any = parser.parse_args()
    works = {
        name: process(words, REFUSED if name.startswith("unknown") else 0)
        for name, words in COMMANDS.items()
    }
    seconds = alternate(works, args.repeats)
    torch = statistics.median(seconds["import torch"])
    rows = [("process", "ms, median", "range", "of import torch")]
    rows += [
        (name, *milliseconds(found), f"{statistics.median(found) / torch:.2f}")
        for name, found in seconds.items()
    ]
    table(f"Start-up, files cached, {args.repeats} processes each", rows)


if __name__ == "__main__":
    main()
