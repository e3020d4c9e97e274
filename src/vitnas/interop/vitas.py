"""ViTAS's official code (xiusu/ViTAS): weights and architectures, in and out.

A searched network scales attention by its embed_dim, which its weights need; that comes along as an
option of the model. A supernet is right by default: positions for each token, q and k sliced
apart, scores scaled by the width of a head. With `faithful=True` it does what the released code
does, and has its logits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop.vitas_codes import decode, decode_ratios, describe, encode, network, of_code
from vitnas.interop.vitas_names import block_name, of_model, of_supernet, official, plain
from vitnas.interop.vitas_shapes import (
    agreed,
    compare,
    described,
    empty,
    img_size,
    infer,
    scale,
    space_of,
)
from vitnas.interop.vitas_yaml import Official, networks, read, read_code, runs_networks
from vitnas.models import make_config
from vitnas.models.vitas import FAMILY, slots
from vitnas.space import Space

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitnas.supernet import Supernet

WRAPPER = "model"
"""Where a checkpoint holds the state."""

FAITHFUL = {"faithful": True}
"""With these arguments `load` keeps what weights compute."""


def load(
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    space: Space | None = None,
    *,
    faithful: bool = False,
) -> nn.Module:
    """Make a model of official ViTAS weights: a searched network, or a supernet.

    A searched network has the official logits. A supernet has them only with `faithful`: then its
    attention has one scale for all subnets, every token gets the last position, and narrower
    attention takes the first or last rows of q and k as one list. Which widths a subnet has, `arch`
    says. Both sides (`side="left"` and `"right"`) are there in either case.

    Args:
        state_dict: the official `model` state, with or without `module.` before every name.
        config: the official YAML, or its part `model`. Where `model` is a supernet of other sizes
            than the weights, they are those of `retrain.model` or `test.model`.
        space: what a supernet is searched for; by default it runs all that fit inside.
        faithful: keep what the released supernet does.

    Raises:
        InputError: a malformed config, a space for a searched network, or weights that don't fit.
    """
    state = plain(state_dict)
    given = described(state, config)
    if given.searched and space is not None:
        raise InputError("these are ViTAS weights of one network: leave the space out")
    compare(state, given)
    net, names = empty(given, img_size(state, given), space, faithful)
    net.load_state_dict({ours: state[theirs] for theirs, ours in names.items()})
    return net


def infer_config(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the part `model` of the official YAML that weights imply.

    Numbers of heads don't show in weights. Those of the published networks and of the official
    supernets are known by the shapes.

    Raises:
        InputError: these are not official ViTAS weights, or no known ones. Where most tensors are
            as in a known one, the others are named.
    """
    return infer(plain(state_dict)).mapping()


def recognises(names: Collection[str]) -> bool:
    """Return whether tensors are named as the official code names them."""
    return official(names)


def describes(foreign: Any) -> bool:
    """Return whether this looks like an official YAML or a part of it."""
    if not isinstance(foreign, Mapping):
        return False
    inner = foreign.get("model", foreign)
    return isinstance(inner, Mapping) and bool({"backbone", "net_id", "subnet_m"} & inner.keys())


def dump(net: nn.Module, *, space: Space | None = None, lossy: bool = False) -> dict[str, Tensor]:
    """Return the official state of a static model, or of a supernet that is faithful, copied.

    The official scale of a static model follows from its embed_dim; where that of the model is
    another, queries are multiplied to make up for it. Nothing is lost, so `lossy` has no effect;
    `space` must be None.

    Raises:
        InputError: it is no ViTAS of this package, or one that the official code can't run.
    """
    from vitnas.supernet import Supernet

    if space is not None:
        raise InputError("the official ViTAS format holds what a net has: leave the space out")
    if isinstance(net, Supernet):
        state, given = net.state_dict(), _official(net)
        stored = of_supernet(net, given, space_of(given).largest)
        return {theirs: state[ours].detach().clone() for theirs, ours in stored}
    return _dump_model(net)


def lost(net: nn.Module, space: Space | None = None) -> list[str]:
    """Return what the official format can't keep of a net that it can hold: nothing."""
    return []


def arguments(net: nn.Module, space: Space | None = None) -> dict[str, Any]:
    """Return the part `model` of the official YAML that a net is built with.

    Raises:
        InputError: as for `dump`.
    """
    from vitnas.supernet import Supernet

    if isinstance(net, Supernet):
        return _official(net).mapping()
    arch, config = _record(net)
    return replace(describe(arch), classes=config.num_classes).mapping()


def arch(foreign: Any, config: Mapping[str, Any] | None = None, *, faithful: bool = False) -> Arch:
    """Read the official description of a network.

    It is an encoding (text such as "1 2 4 3 ...", or numbers), or a mapping: a YAML with `net_id`
    or with rows that leave no choice, or `subnet_m` and `subnet_c_percent`, as a supernet gets. Of
    a YAML whose `model` is a supernet, `retrain.model` and `test.model` are read.

    Args:
        foreign: the description.
        config: the YAML that an encoding belongs to; by default the official supernet of its
            length, unless the mapping has rows itself.
        faithful: give widths to blocks as the released supernet does, by the order of the blocks
            that are there; the original's FLOPs, and this without `faithful`, go by slot.

    Raises:
        InputError: it is malformed, describes a supernet, or two networks.
    """
    if not isinstance(foreign, Mapping):
        code = read_code(foreign)
        return decode(of_code(code) if config is None else read(config), code, faithful)
    inner = foreign.get("model", foreign)
    given: dict[str, Any] = {**_inner(config), **inner} if isinstance(inner, Mapping) else {}
    if "subnet_m" in given:
        space = read({**given, "net_id": None})
        ratios = given.get("subnet_c_percent", ())
        return decode_ratios(space, read_code(given["subnet_m"]), ratios, faithful)
    if "backbone" not in given and given.get("net_id") is not None:
        return arch(given["net_id"], faithful=faithful)
    space = read(given)
    others = {} if space.searched else networks(foreign)
    if not others:
        return network(space, faithful)
    if not runs_networks(foreign):
        raise InputError(
            "official ViTAS YAML: it describes a supernet; switched off by `flag`: "
            f"{', '.join(others)}"
        )
    return agreed({name: network(one, faithful) for name, one in others.items()})


def foreign(arch: Arch, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the part `model` of an official YAML that describes an architecture.

    Where all blocks are equal, rows alone; else `net_id` in the space of `config`, by default the
    official ones, or where they lack it, one with the architecture's own widths.

    Raises:
        InputError: the architecture is no ViTAS, or `config` has no such network.
    """
    if arch.family != FAMILY.name:
        raise InputError(f"the official ViTAS has no {arch.family} architectures")
    return (describe(arch) if config is None else encode(read(config), arch)).mapping()


def description(arch: Arch, space: Space | None = None) -> dict[str, Any]:
    """Return an architecture as the official code's users keep it; see `foreign`."""
    return foreign(arch)


def _inner(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found: Any = (config or {}).get("model", config or {})
    return found if isinstance(found, Mapping) else {}


def _record(net: nn.Module) -> tuple[Arch, Any]:
    record = getattr(net, "vitnas_config", None)
    if not isinstance(record, dict) or record["arch"]["family"] != FAMILY.name:
        raise InputError("the official format holds ViTAS models and supernets of this package")
    arch = Arch.from_dict(record["arch"])
    config = make_config(FAMILY, arch, record["options"])
    _check_images(config)
    return arch, config


def _check_images(config: Any) -> None:
    height, width = config.img_size
    faults = [f"img_size is {height}x{width}, not square"] if height != width else []
    faults += [f"in_chans is {config.in_chans}, not 3"] if config.in_chans != 3 else []
    faults += ["it has no classes"] if not config.num_classes else []
    if faults:
        raise InputError(f"the official ViTAS can't hold this model: {'; '.join(faults)}")


def _dump_model(net: nn.Module) -> dict[str, Tensor]:
    import torch

    arch, config = _record(net)
    names = {ours: theirs for theirs, ours in of_model(net, arch)}
    state = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    if config.last_position:
        state["pos_embed"] = state["pos_embed"][:, -1:].expand_as(state["pos_embed"]).clone()
    official = replace(config, attn_scale="embed")
    for layer, (heads, attn) in enumerate(zip(arch.num_heads, arch.attn_dim, strict=True)):
        theirs = official.scale(arch.embed_dim, heads)
        ours = config.scale(arch.embed_dim, heads) or (attn // heads) ** -0.5
        for part in ("weight", "bias"):
            name = f"blocks.{layer}.attn.qkv.{part}"
            if config.qkv:
                split = [state.pop(f"blocks.{layer}.attn.qkv.{one}.{part}") for one in ("qk", "v")]
                state[name] = torch.cat(split)
                names[name] = block_name("Block", slots(arch)[layer], f"attn.qkv.{part}")
            if ours != theirs:
                state[name][:attn] *= ours / theirs
    return {names[name]: tensor for name, tensor in state.items()}


def _official(net: Supernet) -> Official:
    """Return the official description of a supernet that the official code can hold.

    Raises:
        InputError: it would do something else there; every difference is named.
    """
    largest: Any = net.largest
    space, config = net.stored_space or net.space, net.config
    if largest.family != FAMILY.name or space is None:
        raise InputError("the official format holds ViTAS models and supernets of this package")
    _check_images(config)
    heads, patches = (space[gene].values for gene in ("num_heads", "patch_size"))
    sizes = {gene: set(largest[gene]) for gene in ("attn_dim", "mlp_dim")}
    options = {"joint_qk": True, "last_position": True, "attn_scale": scale(largest.embed_dim)}
    found = [(name, getattr(config, name), value) for name, value in options.items()]
    sharing = {policy for axis, policy in net.sharing.axes if axis not in ("patch", "heads")}
    named = sorted((sharing | {net.sharing.default}) - {"prefix", "bilateral"})
    faults = [f"{name} is {mine}, not {theirs}" for name, mine, theirs in found if mine != theirs]
    faults += [f"it shares by {', '.join(named)}, not bilateral"] if named else []
    faults += [f"{gene} differs from block to block" for gene, one in sizes.items() if len(one) > 1]
    if config.qkv and len(_flat(heads)) != 4:
        faults.append(f"it has {len(_flat(heads))} numbers of heads, not 4")
    if faults:
        raise InputError(
            f"the official ViTAS can't hold this supernet, only what is extracted from it: "
            f"{'; '.join(faults)}"
        )
    attn, mlp = (sizes[gene].pop() for gene in ("attn_dim", "mlp_dim"))
    widths = largest.embed_dim, 3 * attn, mlp, largest.depth
    identity = (
        any(choice.name == "slot" for choice in space.choices) or len(space["depth"].values) > 1
    )
    return Official(_flat(patches), _flat(heads), *widths, identity, config.num_classes, config.qkv)


def _flat(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values of a choice, of all layers together."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return tuple(dict.fromkeys(one for row in rows for one in row))
