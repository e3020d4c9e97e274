"""`vitnas extract`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitnas.cli.log import console

if TYPE_CHECKING:
    from vitnas.arch import Arch
    from vitnas.supernet import Supernet


def extract(
    run: Path, *, arch: str = "best", search: str = "evolution", output: Path | None = None
) -> Path:
    """Take a subnet out of a supernet and write it as a model folder.

    Args:
        run: the folder of a run, or of a supernet.
        arch: best (of a search), largest, smallest, a published name, or JSON (a file or text).
        search: the search that `best` refers to.
        output: the model folder; by default models/NAME inside the run.
    """
    from vitnas import folder
    from vitnas import run as layout
    from vitnas.errors import InputError
    from vitnas.supernet import Supernet

    source = layout.supernet_folder(run)
    net = folder.load(source)
    if not isinstance(net, Supernet):
        raise InputError(f"{source} is no supernet")
    chosen, how = _choose(net, run, arch, search)
    name = search if arch == "best" else arch if arch in ("largest", "smallest") else "extracted"
    target = output or run / layout.MODELS / name
    record = folder.read_config(source)
    kept = {key: record[key] for key in ("data", "classes", "input") if key in record}
    provenance = {"supernet": layout.fingerprint(source), **how}
    folder.save(net.extract(chosen), target, **kept, provenance=provenance, metrics={})
    console().print(f"{name} subnet written to {target}", highlight=False)
    return target


def _choose(net: Supernet, run: Path, arch: str, search: str) -> tuple[Arch, dict[str, object]]:
    from vitnas import run as layout
    from vitnas.cli.search_verb import best
    from vitnas.cli.target import read_arch
    from vitnas.errors import InputError, unknown
    from vitnas.search.ledger import read

    if arch in ("largest", "smallest"):
        if net.space is None:
            raise InputError("this supernet has no search space; name the architecture itself")
        return getattr(net.space, arch), {"chosen": arch}
    if arch != "best":
        return read_arch(arch), {"chosen": "given"}
    folder = run / layout.SEARCHES
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if search not in found:
        raise (
            unknown("search", search, found)
            if found
            else InputError(f"{run} has no search yet; run `vitnas search {run}`")
        )
    settings, records = read(folder / search)
    records = [record for record in records if record.state == "complete"]
    if not records:
        raise InputError(f"search {search} has no evaluated subnet yet")
    chosen = best(records)
    return chosen.arch, {
        "chosen": f"best of {len(records)} subnets by {settings.strategy} search",
        "ranked_on": settings.evaluated_on,
        "limits": [str(limit) for limit in settings.limits],
        "trial": chosen.number,
        "search_top1": chosen.score,
    }
