"""Whether an AutoFormer code base can hold one of our nets, and what the net would lose there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.axes import parse
from vitnas.choice import Choice
from vitnas.errors import InputError
from vitnas.interop.autoformer import TABLES, State, apart
from vitnas.models import make_config
from vitnas.models.autoformer import FAMILY
from vitnas.space import Space

if TYPE_CHECKING:
    from torch import Tensor, nn

_FREE = ("drop_path_rate", "drop_path_depth", "max_relative_position")
"""Options that don't decide whether weights can be held; tables are cut or extended."""

_BIASES = (
    "subnets with fewer heads than the largest change their logits, as the official code cuts one "
    "flat qkv bias by the number of heads where NNI, MMRazor and vitnas have one each for q, k, v"
)


def describe(net: nn.Module, original: str) -> tuple[Arch, Any]:
    """Return the largest architecture of an AutoFormer net, static or supernet, and its config.

    Raises:
        InputError: it is no AutoFormer of this package.
    """
    from vitnas.supernet import Supernet

    record = getattr(net, "vitnas_config", None)
    if isinstance(net, Supernet):
        arch, options = net.largest, net.config.to_dict()
    elif isinstance(record, dict):
        arch, options = Arch.from_dict(record["arch"]), record["options"]
    else:
        raise InputError(f"the {original} format holds AutoFormer nets of vitnas only")
    if arch.family != FAMILY.name:
        raise InputError(f"the {original} format holds AutoFormer nets, not {arch.family}")
    return arch, make_config(FAMILY, arch, options)


def searched(net: nn.Module, space: Space | None) -> Space | None:
    """Return the space that is searched: the given one, else a supernet's own, if it has one."""
    return space if space is not None else getattr(net, "space", None)


def choices(net: nn.Module, space: Space | None, original: str) -> dict[str, list[Any]]:
    """Return the values of every gene: of what is searched, or those that a static model has.

    Of a supernet without a space, its depth.

    Raises:
        InputError: layers differ in their choices, which the originals can't have.
    """
    from vitnas.supernet import Supernet

    own = searched(net, space)
    if own is not None:
        return {gene: _same_in_all_layers(own, gene, original) for gene in FAMILY.genes}
    arch, _ = describe(net, original)
    if isinstance(net, Supernet):
        return {"depth": [arch.depth]}
    genes: dict[str, Any] = {gene: arch[gene] for gene in FAMILY.genes}
    return {
        gene: sorted(set(value)) if isinstance(value, tuple) else [value]
        for gene, value in genes.items()
    }


def _same_in_all_layers(space: Space, gene: str, original: str) -> list[Any]:
    if differs(space[gene]):
        raise InputError(f"the {original} has the same choices of {gene} in all layers")
    return list(space[gene].rows[0])


def differs(choice: Choice) -> bool:
    """Return whether layers differ in the values of a choice."""
    return len(set(choice.rows)) > 1


def stored(net: nn.Module, space: Space | None, *, whole: bool = False) -> Arch:
    """Return the largest architecture that a format has to hold of a net.

    Of a supernet the largest of what is searched; all that it stores where no space is given and
    `whole` says so, or the supernet has none either.

    Raises:
        InputError: a static model that is not in the space.
    """
    from vitnas.supernet import Supernet

    arch, _ = describe(net, "AutoFormer")
    if not isinstance(net, Supernet):
        if space is not None:
            space.validate(arch)
        return arch
    own = space if whole else searched(net, space)
    return arch if own is None else own.largest


def apart_state(
    net: nn.Module, original: str, options: Mapping[str, Any], space: Space | None, lossy: bool
) -> dict[str, Tensor]:
    """Return what NNI or MMRazor stores of a net, under our names, q, k and v one by one.

    Of a supernet these are the largest widths of what is searched. `options` are those that the
    original's network has.

    Raises:
        InputError: the original has no such net, or something would be lost.
    """
    from vitnas.supernet import Supernet

    arch, config = describe(net, original)
    check_holds(original, config, options, arch)
    check_sharing(original, net)
    if isinstance(net, Supernet):
        _check_alike(original, stored(net, space))
    refuse_loss(original, lost(net, space, legacy=False), lossy)
    arch = stored(net, space)
    reach = config.max_relative_position, options["max_relative_position"]
    return apart(extend(part_of(net, arch), *reach))


def part_of(net: nn.Module, arch: Arch) -> dict[str, Tensor]:
    """Return the state of a static model, or of a supernet's subnet of this architecture."""
    from vitnas.supernet import Supernet

    return net.subnet_state(arch) if isinstance(net, Supernet) else dict(net.state_dict())


def inside(
    state: State, arch: Arch, largest: Arch, options: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the state of a legacy supernet that holds one architecture's, and zeros elsewhere.

    The first entries along every axis are written, so that the supernet's subnet of this
    architecture has this state.
    """
    import torch

    first = next(iter(state.values()))
    config = make_config(FAMILY, largest, options)
    parts = {unit.path: unit.kind.size for unit in FAMILY.units(config, arch)}
    found = {}
    for unit in FAMILY.units(config, largest):
        for name, text in FAMILY.layouts(config, unit.kind.role, True).items():
            path, layout = f"{unit.path}.{name}".strip("."), parse(text)
            whole = torch.zeros(layout.split_shape(unit.kind.size)).to(first)
            if unit.path in parts:
                shape = layout.split_shape(parts[unit.path])
                whole[tuple(slice(n) for n in shape)] = state[path].detach().view(shape)
            found[path] = whole.view(layout.shape(unit.kind.size))
    return found


def check_holds(original: str, config: Any, options: Mapping[str, Any], arch: Arch) -> None:
    """Check that an original with these options is the same network.

    Raises:
        InputError: it isn't; every option that differs is named.
    """
    if config.img_size[0] != config.img_size[1]:
        raise InputError(f"the {original} can't hold this net: img_size is not square")
    genes = {name: arch[name] for name in FAMILY.genes}
    theirs = make_config(FAMILY, Arch(FAMILY.name, **genes), options).to_dict()
    faults = [
        f"{name} is {mine}, not {theirs[name]}"
        for name, mine in config.to_dict().items()
        if name not in _FREE and mine != theirs[name]
    ]
    if faults:
        raise InputError(f"the {original} can't hold this net: {'; '.join(faults)}")


def check_sharing(original: str, net: nn.Module) -> None:
    """Check that a net, if it is a supernet, shares as the originals do.

    Raises:
        InputError: it doesn't.
    """
    from vitnas.supernet import Supernet

    if not isinstance(net, Supernet):
        return
    others = {net.sharing.default, *(name for _, name in net.sharing.axes)} - {"prefix", "legacy"}
    if others:
        raise InputError(f"the {original} shares by prefix, not {', '.join(sorted(others))}")


def _check_alike(original: str, arch: Arch) -> None:
    for gene in ("num_heads", "mlp_ratio"):
        values: Any = arch[gene]
        if len(set(values)) > 1:
            raise InputError(
                f"the {original} has the same choices in all layers; here the largest {gene} are "
                f"{', '.join(map(str, values))}"
            )


def lost(net: nn.Module, space: Space | None, *, legacy: bool) -> list[str]:
    """Return what a format with flat (`legacy`) or nested biases can't keep of a net.

    Nothing of a static model, nor where a supernet has the same biases, or none, or only zeros, or
    where all subnets have all the heads that the format stores.
    """
    from vitnas.supernet import Supernet

    if not isinstance(net, Supernet):
        return []
    if net.sharing.legacy == legacy or net.config.fixed_attn_dim:
        return []
    own, largest = searched(net, space), stored(net, space, whole=legacy)
    fewest = own.smallest.num_heads if own is not None else (1,) * largest.depth
    biases = [t for name, t in net.state_dict().items() if name.endswith("attn.qkv.bias")]
    same = fewest == largest.num_heads[: len(fewest)] or not any(bool(b.any()) for b in biases)
    return [] if same else [_BIASES]


def refuse_loss(original: str, losses: list[str], lossy: bool) -> None:
    """Refuse a loss that was not agreed to.

    Raises:
        InputError: there is one; the message says what, and how to go on.
    """
    if losses and not lossy:
        raise InputError(
            f"the {original} format can't keep all of this supernet: {'; '.join(losses)}. Convert "
            "a subnet (--arch), which loses nothing, or agree to the loss (--lossy yes; in Python "
            "lossy=True)"
        )


def extend(state: State, old: int, new: int) -> dict[str, Tensor]:
    """Return a state whose tables of relative positions reach another distance.

    Beyond the old one they repeat its last entries, which is what clipping does; entries beyond the
    new one are cut.
    """
    import torch

    at = torch.arange(-new, new + 1).clamp(-old, old) + old + 1
    rows = torch.cat([torch.zeros(1, dtype=torch.long), at])
    return {
        name: tensor[rows.to(tensor.device)]
        if old != new and name.endswith(tuple(TABLES))
        else tensor
        for name, tensor in state.items()
    }
