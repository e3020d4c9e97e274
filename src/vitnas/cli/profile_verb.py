"""`vitnas profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from vitnas import cost
from vitnas.arch import Arch
from vitnas.cli.log import say, table
from vitnas.cli.measuring import find_table
from vitnas.cli.target import read_target
from vitnas.cli.usage import MaybeName, MaybeNumber, Name, Number, Sizes, read_sizes
from vitnas.errors import InputError

if TYPE_CHECKING:
    from vitnas.space import Space

TableFile = Annotated[Path | None, arg(name="table", metavar="FILE", help_behavior_hint="")]


def profile(
    target: str,
    *,
    num_classes: MaybeNumber = None,
    img_size: Sizes = (),
    latency: Literal["on", "off"] = "on",
    batch_size: Number = 1,
    device: Name = "auto",
    threads: MaybeNumber = None,
    dtype: Name = "float32",
    backend: Name = "eager",
    repeats: Number = 30,
    table_file: TableFile = None,
    space: MaybeName = None,
) -> None:
    """Print parameters, MACs, peak memory and latency of an architecture or a saved model.

    The figure of its original, where that counts otherwise, is beside. Memory is that of
    activations at inference, run by torch without a compiler; latency is measured here.

    Args:
        target: a published name, an architecture (a file, or JSON text), or a model folder.
        num_classes: classes of the head; by default the model folder's, else 1000.
        img_size: of the images; by default the model folder's, else 224.
        latency: off measures nothing.
        batch_size: images that memory and latency are for.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: of a CPU; by default those that torch takes.
        dtype: of weights and images: float32, bfloat16 or float16.
        backend: eager (torch), compile (torch.compile, block by block) or onnxruntime.
        repeats: times that the model runs.
        table_file: a file with the latencies of all kinds of block of a search space, which is
            measured and written if it is not there; its error is measured with it.
        space: the search space of the table; by default that of a supernet or a published name.
    """
    arch, options = read_target(target)
    given: dict[str, Any] = {"num_classes": 1000, "img_size": 224, **options}
    if num_classes is not None:
        given["num_classes"] = num_classes
    if img_size:
        given["img_size"] = read_sizes(img_size)
    searched = None if table_file is None else _space(target, space)
    rows, notes = _counts(arch, given)
    how: dict[str, Any] = {
        "batch_size": batch_size,
        "device": device,
        "threads": threads,
        "dtype": dtype,
    }
    settings = cost.settings(**how, backend=backend)
    peak = cost.memory(arch, **given, **how)
    rows.append(["memory", "peak of activations, bytes", f"{peak:,}"])
    if latency == "on":
        found = cost.latency(arch, **given, **how, backend=backend, repeats=repeats)
        spread = f"{_ms(found.median)} ({_ms(found.p5)} to {_ms(found.p95)})"
        rows.append(["latency", f"ms, median of {repeats} (5th to 95th percentile)", spread])
    if table_file is not None and searched is not None:
        kinds = find_table(table_file, searched, settings, given)
        rows.append(["latency", "ms, sum over kinds of block", _ms(kinds(arch))])
        notes.append(f"{table_file}: {len(kinds.rows)} kinds of block and root; {kinds.error}")
    table(target, ["figure", "how", "value"], rows, left=2)
    say(f"memory: {cost.settings(**how)}")
    if latency == "on":
        say(f"latency: {settings}")
    for note in notes:
        say(note)


def _counts(arch: Arch, given: dict[str, Any]) -> tuple[list[list[str]], list[str]]:
    """Return rows of what is counted, and notes on them."""
    rows = [
        ["params", "exact", f"{cost.params(arch, **given):,}"],
        ["MACs", "exact, attention as the originals compute it", f"{cost.macs(arch, **given):,}"],
        [
            "MACs",
            "exact, attention as computed here",
            f"{cost.macs(arch, attention='factorised', **given):,}",
        ],
    ]
    notes = []
    for name, (covered, _) in cost.CONVENTIONS.items():
        if arch.family != covered:
            continue
        try:
            figure = f"{cost.convention(name, arch, **given):,.0f}"
        except InputError as error:
            figure = "–"
            notes.append(f"–: {error}")
        kind = name.rpartition("-")[2]
        figured, told = _COUNTED.get(kind, ("MACs", ", which calls them FLOPs"))
        rows.append([figured, f"as counted by {name}{told}", figure])
    return rows, notes


_COUNTED = {"params": ("params", ""), "cream": ("complexity", "")}
"""What a convention counts by its last word, and what to tell of it; all others count MACs."""


def _space(target: str, name: str | None) -> Space:
    """Return the search space of a name, or of what the target is.

    Raises:
        InputError: there is none.
    """
    from vitnas.run import model_record
    from vitnas.space import Space
    from vitnas.spaces import space
    from vitnas.zoo import entries

    if name is not None:
        return space(name)
    if target in entries():
        return space(entries()[target].space)
    record = model_record(Path(target)) if Path(target).is_dir() else {}
    if not record.get("space"):
        raise InputError(
            f"{target} has no search space: name the one that the table is of, --space"
        )
    return Space.from_dict(record["space"])


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.4g}"
