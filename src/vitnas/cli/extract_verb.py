"""`vitnas extract`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.cli.log import say
from vitnas.cli.measuring import recorded_costs
from vitnas.cli.target import read_arch
from vitnas.cli.usage import MaybeFolder, MaybeName, MaybeNumber, Name
from vitnas.errors import InputError, unknown

if TYPE_CHECKING:
    from vitnas.arch import Arch


def extract(
    run: Path,
    *,
    arch: Name = "best",
    search: MaybeName = None,
    trial: MaybeNumber = None,
    side: MaybeName = None,
    output: MaybeFolder = None,
) -> Path:
    """Take a subnet out of a supernet and write it as a model folder.

    Args:
        run: the folder of a run, or of a supernet.
        arch: best (of a search), largest, smallest, a published name, or JSON (a file or text).
        search: the search that best refers to; not needed if there is only one. The best of
            slimming is the subnet of its last target.
        trial: another subnet of that search than the best, by the number that the search shows.
        side: left or right, of a supernet with bilateral sharing; by default left.
        output: the model folder; by default models/NAME inside the run.
    """
    from vitnas import run as layout

    source = layout.supernet_folder(run)
    if trial is not None and arch != "best":
        raise InputError(f"trial {trial} is of a search, but --arch names {arch}; give one of them")
    chosen, name, how = _choose(run, arch, search, trial)

    from vitnas import folder
    from vitnas.supernet import Supernet

    net = folder.load(source)
    if not isinstance(net, Supernet):
        raise InputError(f"{source} is no supernet")
    if chosen is None:
        if net.space is None:
            raise InputError("this supernet has no search space; name the architecture itself")
        chosen = net.space.largest if arch == "largest" else net.space.smallest
    taken = net.sharing.check_side(side)
    name, how = (f"{name}-{side}" if side else name), how | ({"side": taken} if taken else {})
    target = output or run / layout.MODELS / name
    record = folder.read_config(source)
    provenance = {
        "supernet": layout.fingerprint(source),
        **how,
        "space": record.get("space"),
        "supernet_training": record.get("provenance", {}),
    }
    if _is_there(target, chosen, provenance):
        say(f"{name} subnet is in {target} already")
        return target
    kept = {key: record[key] for key in ("data", "classes", "input") if key in record}
    folder.save(net.extract(chosen, side), target, **kept, provenance=provenance, metrics={})
    say(f"{name} subnet written to {target}")
    return target


def _choose(
    run: Path, arch: str, search: str | None, trial: int | None
) -> tuple[Arch | None, str, dict[str, Any]]:
    """Return the architecture (None: the space says), a name for the model, and how it came."""
    if arch in ("largest", "smallest"):
        return None, arch, {"chosen": arch}
    if arch != "best":
        found, name = read_arch(arch)
        return found, name, {"chosen": "given"}
    return _from_search(run, _the_search(run, search), trial)


def _from_search(run: Path, search: str, trial: int | None) -> tuple[Arch, str, dict[str, Any]]:
    from vitnas import run as layout
    from vitnas.folder import read_config
    from vitnas.search.answer import chosen
    from vitnas.search.ledger import TOP1, read

    folder = run / layout.SEARCHES / search
    settings, records = read(folder)
    records = [record for record in records if record.done]
    if not records:
        raise InputError(f"search {search} in {run} has evaluated no subnet yet; repeat it")
    options = read_config(layout.supernet_folder(run))["options"]
    slimming = settings.strategy == "slimming"  # which alone is repeated to find its networks
    costs = recorded_costs(folder, settings, options) if slimming else {}
    found = chosen(settings, records, costs, trial)
    which = "best" if trial is None else f"trial {trial}"
    measured = settings.scorer == TOP1
    guessed = {"predictor": settings.predictor, "oversample": settings.oversample}
    how = {
        "chosen": f"{which} of {len(records)} subnets by {settings.strategy} search"
        + ("" if measured else f" of {settings.scorer}, a proxy"),
        "ranked_on": settings.evaluated_on,
        "limits": [str(limit) for limit in settings.limits],
        "search": {
            "strategy": settings.strategy,
            "options": dict(settings.options),
            "seed": settings.seed,
            "evaluated": len(records),
            "scorer": settings.scorer,
            **(guessed if settings.predictor else {}),
            **({"measured_on": settings.measured_on} if settings.measured_on else {}),
        },
        "trial": found.number,
        **({"search_top1": found.score} if measured else {settings.scorer: found.score}),
        "search_metrics": found.metrics,
    }
    return found.arch, search if trial is None else f"{search}-{trial}", how


def _the_search(run: Path, name: str | None) -> str:
    """Return the name of the search, which need not be given if there is only one."""
    from vitnas import run as layout

    folder = run / layout.SEARCHES
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not found:
        raise InputError(f"{run} has no search yet; run `vitnas search {run}` first")
    if name is None and len(found) > 1:
        raise InputError(f"{run} has the searches {', '.join(found)}; name one with --search")
    if name is not None and name not in found:
        raise unknown("search", name, found)
    return name or found[0]


def _is_there(target: Path, arch: Arch, provenance: dict[str, Any]) -> bool:
    """Tell whether a folder holds this subnet of this supernet, of the same side.

    Raises:
        InputError: it holds something else.
    """
    from vitnas import files, folder

    files.delete_abandoned(target)
    found = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if found <= {folder.WEIGHTS, folder.MODELING}:  # absent, or not written to its end
        return False
    record = folder.read_config(target) if folder.CONFIG in found else {}
    origin = record.get("provenance", {})
    alike = (origin.get(name) == provenance.get(name) for name in ("supernet", "side"))
    same = record.get("arch") == arch.to_dict() and all(alike)
    if not same or "training" in origin:
        raise InputError(f"{target} holds something else; name another folder with --output")
    return True
