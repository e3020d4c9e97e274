"""`vitnas archs`."""

from __future__ import annotations

from vitnas.cli.log import say, table
from vitnas.cli.target import read_space, read_target
from vitnas.cli.usage import MaybeName, PositionalName
from vitnas.errors import InputError
from vitnas.interop.default_space import default_space
from vitnas.interop.originals import describe_arch, original
from vitnas.report.figures.style import quantity
from vitnas.spaces import space as find_space
from vitnas.zoo import entries


def archs(name: PositionalName = None, *, to: MaybeName = None, space: MaybeName = None) -> None:
    """List the published architectures, or print one as JSON or as another system writes it.

    Parameters and MACs are exact, for 1000 classes at 224 px; accuracies are the authors' own, of
    the sources below the list.

    Args:
        name: a published name, an architecture as JSON or YAML of any system (a file, or JSON
            text), or a model folder.
        to: cream, nni, mmrazor, s3 or vitas: print the architecture as that system's users keep it.
        space: with --to, a search space whose inactive layers are written too, where the system
            wants them; by default that which the model folder was found in, or of a published
            architecture the system's own preset or that which it was published with.
    """
    if to is not None:
        original(to, "architecture format")
    if to is not None and name is None:
        raise InputError("--to writes one architecture for another system; name it")
    if to is None and space is not None:
        raise InputError("--space says what is written for another system; give that, too (--to)")
    searched = None if space is None else find_space(space)
    if name is not None:
        arch, _ = read_target(name)
        if to is None:
            say(arch.to_json())
            return
        if searched is None:
            searched = default_space(arch, to, read_space(name))
        say(describe_arch(arch, to, searched)[1].rstrip("\n"))
        return
    rows = [
        [
            entry.name,
            entry.space,
            quantity(entry.params),
            quantity(entry.macs),
            str(entry.top1),
            str(entry.top5),
        ]
        for entry in entries().values()
    ]
    columns = ["name", "space", "params", "MACs", "top-1", "top-5"]
    table("Published architectures (ImageNet-1k, 224 px)", columns, rows, left=2)
    for source in dict.fromkeys(entry.source for entry in entries().values()):
        named = [entry.name for entry in entries().values() if entry.source == source]
        say(f"Accuracies of {', '.join(named)}: {source}")
    for entry in entries().values():
        if entry.note:
            say(f"{entry.name}: {entry.note}")
