"""Search spaces by name, and from a user's YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.genes import lists
from vitnas.models import FAMILIES, Kind, family, make_config
from vitnas.models.base import check_genes
from vitnas.space import Choice, Space
from vitnas.spaces import autoformer, mmrazor, nni, s3, vitas

SPACES = {**autoformer.SPACES, **nni.SPACES, **mmrazor.SPACES, **s3.SPACES, **vitas.SPACES}


def spaces() -> tuple[str, ...]:
    """Return the names of the search spaces that come with the package."""
    return tuple(SPACES)


def space(name: str | Path, *, tied: bool = False) -> Space:
    """Return a search space by name, or read one from a YAML file (see `read`).

    With `tied`, all layers of an architecture are equal, or all of a stage (`Space.with_tied`).

    Raises:
        InputError: there is no such name or file, or the file does not describe a space.
    """
    found = SPACES[str(name)]() if str(name) in SPACES else _from_file(name)
    return found.with_tied() if tied else found


def _from_file(name: str | Path) -> Space:
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise unknown("search space", str(name), SPACES)
    from vitnas.files import read_yaml

    return read(read_yaml(path, "search space"), path.stem, str(path))


def read(record: Any, name: str = "", source: str = "search space") -> Space:
    """Make a search space of a mapping such as this YAML::

        family: autoformer
        depth: [12, 13, 14]
        embed_dim: [192, 216, 240]
        num_heads: [3, 4]          # in every layer; a list of lists gives one list a layer
        mlp_ratio: [3.5, 4]
        patch_size: 16             # a single value is fixed

    A family with stages has one list a stage (or one list for all, and `stages: 4`)::

        family: s3
        depth: [[1, 2], [2, 3]]
        embed_dim: [[32, 48], [64, 96]]
        num_heads: [[1, 2], [2, 3]]
        window_size: [4, 7]
        mlp_ratio: 4

    A ViTAS can leave out any blocks of the largest, as `slot` says; without it, the last ones::

        family: vitas
        depth: [2, 3, 4]
        slot: [0, 1, 2, 3]         # increases from layer to layer
        num_heads: [1, 2]
        attn_dim: [16, 32]
        mlp_dim: [24, 48]
        embed_dim: [24, 32]
        patch_size: [1, 2]

    `tied: true` makes all layers equal (with stages, those of a stage); `tied: [num_heads]` only in
    these genes.

    Raises:
        InputError: it is not a mapping, the family is unknown, or a gene is unknown, missing or
            has a value that the family can't have.
    """
    try:
        return _read(record, name)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def as_mapping(space: Space) -> dict[str, Any]:
    """Return the mapping that `read` makes a space of, fit for YAML."""
    record: dict[str, Any] = {"family": space.family}
    record |= {"name": space.name} if space.name else {}
    record |= {"stages": space.stages} if space.stages else {}
    tied = [choice.name for choice in space.choices if choice.tied]
    record |= {"tied": tied} if tied else {}
    for choice in space.choices:
        values = lists(choice.values)
        record[choice.name] = values[0] if choice.level == "net" and len(values) == 1 else values
    return record


def _read(record: Any, name: str) -> Space:
    if not isinstance(record, Mapping) or "family" not in record:
        raise InputError(
            f"needs `family` ({', '.join(FAMILIES)}) and a list of values for each gene"
        )
    model = family(str(record["family"]))
    staged = model.genes["depth"] == "stage"
    others = ("family", "name", "tied", *(("stages",) if staged else ()))
    genes = {key: value for key, value in record.items() if key not in others}
    known = {
        **dict.fromkeys(model.increasing, "block"),
        **model.genes,
        **dict.fromkeys(model.optional, "net"),
    }
    for gene in genes:
        if gene not in known:
            raise unknown(f"gene of {model.name}", gene, known)
    missing = [gene for gene in model.genes if gene not in genes]
    if missing:
        raise InputError(f"{', '.join(missing)} missing")
    choices = tuple(
        Choice(gene, _values(genes[gene]), level, increasing=gene in model.increasing)  # type: ignore[arg-type]
        for gene, level in known.items()
        if gene in genes
    )
    for choice in choices:
        if choice.name in model.optional and len(choice.values) > 1:
            raise InputError(f"{choice.name} holds for the whole space: give one value")
    stages = record.get("stages", _stages(choices)) if staged else None
    if staged and not stages:
        raise InputError("give `stages`, how many there are, or a list of lists: one a stage")
    space = _tied(Space(model.name, choices, stages), record.get("tied", False))
    space = replace(space, name=str(record.get("name", name)))
    seen: dict[tuple[tuple[str, Kind], ...], Arch] = {}
    for arch in space.tied():
        check_genes(model.genes, (*model.optional, *model.increasing), arch)
        units = model.units(make_config(model, arch, {"img_size": model.img_size(arch)}), arch)
        twin = seen.setdefault(tuple((unit.path, unit.kind) for unit in units), arch)
        if twin != arch:
            differ = ", ".join(f"{g} {twin[g]} and {arch[g]}" for g in arch if twin[g] != arch[g])
            raise InputError(f"these are the same network, keep one of them: {differ}")
    return space


def _tied(space: Space, tied: Any) -> Space:
    """Return the space with the genes tied that a record names: all, none or a list."""
    if isinstance(tied, bool):
        return space.with_tied() if tied else space
    if not isinstance(tied, list) or not tied:
        raise InputError(f"tied is {tied!r}; it is true, false or a list of genes")
    return space.with_tied(*map(str, tied))


def _stages(choices: tuple[Choice, ...]) -> int:
    """Return how many stages the lists of a space have, 0 where no list says."""
    return next((len(choice.values) for choice in choices if choice.varies), 0)


def _values(value: Any) -> Any:
    if not isinstance(value, list):
        return (value,)
    return tuple(tuple(v) if isinstance(v, list) else v for v in value)
