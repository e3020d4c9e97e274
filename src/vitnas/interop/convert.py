"""Foreign checkpoints into model folders, and nets into foreign checkpoints."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from vitnas import files
from vitnas.arch import Arch, check_arch
from vitnas.errors import InputError
from vitnas.folder import load, read_config, save
from vitnas.folders import new_folder
from vitnas.interop import checkpoint
from vitnas.interop.default_space import default_space, recorded_space
from vitnas.interop.holding import stored
from vitnas.interop.originals import (
    INACTIVE,
    SOURCES,
    describe_arch,
    evaluation_input,
    original,
    recognise,
)
from vitnas.models import Family, family, make_config
from vitnas.models.autoformer import FAMILY as AUTOFORMER
from vitnas.space import Space, check_space
from vitnas.supernet import Supernet

__all__ = ["SOURCES", "Converted", "convert", "run"]

_log = logging.getLogger(__name__)


def convert(
    path: str | Path,
    target: str | Path,
    source: str | None = None,
    *,
    to: str | None = None,
    arch: Arch | None = None,
    space: Space | None = None,
    config: Mapping[str, Any] | None = None,
    lossy: bool = False,
) -> Path:
    """Read a checkpoint of another system and write it as a model folder; return the folder.

    With `to` write a checkpoint of that system instead; `path` may be a model folder then. Beside
    the checkpoint NAME.pth stand NAME.config.json, the arguments that the system builds the network
    with, and of a single network NAME.arch.yaml or .json, its architecture as the system writes it.

    What is written appears when it is complete, or not at all.

    Args:
        path: the checkpoint (.pth, .pt or .safetensors), or with `to` a model folder.
        target: where to write: a folder that does not exist or is empty, or with `to` a file whose
            name ends in .pth, .pt or .safetensors.
        source: the system that it comes from, one of `SOURCES`; by default the one whose names the
            tensors have. The folder's provenance says which.
        to: the system to write for.
        arch: take this subnet out of a supernet, or hold a single network against it; by default
            all that is there is kept.
        space: what the supernet can be searched for; without one it runs all that fit inside. With
            `to`, what is searched in that system, whose largest widths are written; by default the
            supernet's own, or of one network for NNI or MMRazor what it is known to come from.
        config: the original constructor's arguments; by default read off the tensors' shapes.
        lossy: with `to`, go on although the system can't keep all of a supernet.

    Raises:
        InputError: a system is unknown, the file can't be read or is none of that source's, the
            architecture or the space doesn't fit it, something would be lost, or the target can't
            be written.
    """
    return run(Path(path), Path(target), source, to, arch, space, config, lossy).path


class Converted(NamedTuple):
    """What was written where, whose weights it has (a system's, or vitnas's own), how large."""

    path: Path
    source: str
    kind: str
    sizes: str


def run(
    path: Path,
    target: Path,
    source: str | None,
    to: str | None,
    arch: Arch | None,
    space: Space | None,
    config: Mapping[str, Any] | None,
    lossy: bool,
) -> Converted:
    """Do what `convert` does, and tell more of it."""
    if config is not None and not isinstance(config, Mapping):
        raise InputError(f"the config must map the original's arguments to values, not {config!r}")
    if arch is not None:
        check_arch(arch)
    if space is not None:
        check_space(space)
    if to is None:
        _check_folder(path, target)
        net, provenance = read_net(path, source, config, space)
        found, kind = _subnet(net, arch, path)
        if kind == "subnet" and (known := _known_space(net, path)):
            provenance["space"] = known.to_dict()
        with new_folder(target) as unfinished:
            save(found, unfinished, provenance=provenance)
        return Converted(target, provenance["source"], kind, _sizes(found, _described(found)[0]))
    module = original(to, "checkpoint format")
    if checkpoint.check_suffix(target).exists():
        raise InputError(f"{target} is there already; name a new file")
    net, provenance = open_net(path, source, config)
    found, kind = _subnet(net, arch, path)
    if space is None and not isinstance(found, Supernet) and to in INACTIVE:
        space = default_space(_described(found)[0], to, _known_space(net, path))
    _write(found, target, to, module, space, lossy)
    return Converted(target, provenance["source"], kind, _sizes(found, _stored(found, to, space)))


def read_net(
    path: Path,
    source: str | None = None,
    config: Mapping[str, Any] | None = None,
    space: Space | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the net that a checkpoint holds, and where it comes from; see `convert`.

    The net knows how its system prepares images for evaluation.

    Raises:
        InputError: as `convert`.
    """
    if source is not None:
        original(source)  # unknown names are refused before a large file is read
    state, args = checkpoint.read_training(path)
    found = source if source is not None else recognise(state)
    _check_source(path, found, state)
    module = original(found)
    told = {"args": args} if args and found == "cream" else {}
    given = dict(config) if config is not None else module.infer_config(state, **told)
    net = module.load(state, given, space, **told, **getattr(module, "FAITHFUL", {}))
    _tell_input(net, found)
    return net, {"source": found, "file": path.name, "config": given}


def _tell_input(net: Any, source: str) -> None:
    """Keep with a net how its system prepares images."""
    _, options = _described(net)
    input = evaluation_input(source, tuple(options["img_size"]), options["in_chans"])
    if input is None:
        return
    if isinstance(net, Supernet):
        net.input = asdict(input)
    else:
        net.vitnas_config["input"] = asdict(input)


def _described(net: Any) -> tuple[Arch, dict[str, Any]]:
    """Return the architecture of a net, a supernet's largest, and the options."""
    if isinstance(net, Supernet):
        return net.largest, net.config.to_dict()
    return Arch.from_dict(net.vitnas_config["arch"]), net.vitnas_config["options"]


def _stored(net: nn.Module, to: str, space: Space | None) -> Arch:
    """Return the largest architecture in what is written of a net for a system."""
    arch, _ = _described(net)
    return stored(net, space, whole=to == "cream") if arch.family == AUTOFORMER.name else arch


def _sizes(net: nn.Module, arch: Arch) -> str:
    """Return what tells a network that lost some of its tensors, in words."""
    _, options = _described(net)
    depth, width = (
        "/".join(map(str, value)) if isinstance(value, tuple) else value
        for value in (arch["depth"], arch["embed_dim"])
    )
    return f"depth {depth}, embed_dim {width}, num_classes {options['num_classes']}"


def subnet_of(net: nn.Module, arch: Arch, path: Path) -> nn.Module:
    """Return the static model of an architecture: a supernet's subnet, or the net if it is one.

    Raises:
        InputError: the net is another network, or the supernet has no room for it.
    """
    if isinstance(net, Supernet):
        try:
            return net.extract(arch)
        except InputError as error:
            raise InputError(f"{path} has no such subnet: {error}") from error
    record: Any = net.vitnas_config
    own = Arch.from_dict(record["arch"])
    if not _is_same(family(own.family), own, arch, record["options"]):
        raise InputError(
            f"{path} holds another network than the one named: {_difference(own, arch)}"
        )
    return net


def _is_same(model: Family, own: Arch, arch: Arch, options: Mapping[str, Any]) -> bool:
    """Return whether two architectures are the same network, the first of which has options."""
    if arch.family != own.family:
        return False
    config = make_config(model, own, options)
    try:
        return model.units(config, arch) == model.units(config, own)
    except InputError:  # the other can't have these options, as the size of its images
        return False


def _difference(own: Arch, other: Arch) -> str:
    """Return in which genes an architecture is not another, of lists where first."""
    if own.family != other.family:
        return f"its family is {own.family}, not {other.family}"
    told = []
    for gene in dict.fromkeys((*own, *other)):
        where, mine, named = _first_difference(own.get(gene), other.get(gene))
        if mine != named and not isinstance(mine, tuple) and not isinstance(named, tuple):
            told.append(f"{gene}{where} is {mine}, not {named}")
    return f"its {', '.join(told)}" if told else own.to_json()


def _first_difference(mine: Any, other: Any) -> tuple[str, Any, Any]:
    """Return where two values first differ, and what they are there; lists only of one length."""
    if isinstance(mine, tuple) and isinstance(other, tuple) and len(mine) == len(other):
        for index, pair in enumerate(zip(mine, other, strict=True)):
            if pair[0] != pair[1]:
                where, *values = _first_difference(*pair)
                return f"[{index}]{where}", values[0], values[1]
    return "", mine, other


def _check_source(path: Path, source: str, state: Collection[str]) -> None:
    """Check that weights aren't another system's, where their names tell."""
    found = [name for name in SOURCES if original(name).recognises(state)]
    if found and source not in found:
        raise InputError(f"{path} holds weights of {' or '.join(found)}, not of {source}")


def open_net(
    path: Path, source: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the net of a model folder or of a checkpoint, and where it comes from.

    Raises:
        InputError: it is neither, or a model folder with a source or a config.
    """
    if not path.is_dir():
        return read_net(path, source, config)
    if source is not None or config is not None:
        raise InputError(f"{path} is a model folder, which needs neither source nor config")
    return load(path), {"source": "vitnas"}


def _subnet(net: nn.Module, arch: Arch | None, path: Path) -> tuple[nn.Module, str]:
    """Return the net, or the one that is named, and what it is."""
    found = net if arch is None else subnet_of(net, arch, path)
    if not isinstance(net, Supernet):
        return found, "model"
    return found, "supernet" if arch is None else "subnet"


def _known_space(net: nn.Module, path: Path) -> Space | None:
    """Return the space of a supernet, or that in which the network of a model folder was found."""
    if isinstance(net, Supernet):
        return net.space
    return recorded_space(read_config(path)) if path.is_dir() else None


def _write(
    net: nn.Module, target: Path, to: str, module: Any, space: Space | None, lossy: bool
) -> None:
    """Write a net as a checkpoint of a system, and beside it what builds the network there."""
    state = module.dump(net, space=space, lossy=lossy)
    for loss in module.lost(net, space):
        _log.warning("lost in %s: %s", target, loss)
    given = module.arguments(net, space)
    beside = {".config.json": json.dumps(given, indent=2) + "\n"}
    if not isinstance(net, Supernet):
        around = {"given": given} if to == "cream" else {}
        suffix, text = describe_arch(_described(net)[0], to, space, **around)
        beside[f".arch.{suffix}"] = text
    written: list[Path] = []
    try:
        for suffix, text in beside.items():
            written.append(files.write(target.with_suffix(suffix), text))
        checkpoint.write(state, target, module.WRAPPER)  # last: where it is, everything is
    except InputError:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _check_folder(path: Path, folder: Path) -> None:
    if path.is_dir():
        read_config(path)
        raise InputError(
            f"{path} is a model folder already; name the system to convert it to (--to)"
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; name a new folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"can't write {folder}: it is a file; name a new folder")
