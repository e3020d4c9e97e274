"""The supernet: the parameters of the largest static model, and how to run any subnet on them.

Every unit (the root with stem and head, or one block) owns its largest parameters and slices them
inside its own forward; see `vitnas.elastic`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from vitnas import axes
from vitnas.arch import Arch, check_arch
from vitnas.elastic import Elastic, ElasticBlock
from vitnas.errors import InputError, unknown
from vitnas.models import Config, Family, Kind, Unit, family, family_of, make_config
from vitnas.sharing import SIDES, Rules, Sharing, Side, rules
from vitnas.space import Space, check_space
from vitnas.storage import Storage, make_storage


class Supernet(Elastic):
    """A weight-sharing supernet of a search space.

    Args:
        space: the architectures that it serves; None serves all that fit inside what is stored.
        num_classes: classes of the head.
        img_size: height and width of the images, or one number for both.
        sharing: a policy for all axes, or a mapping from axis to policy (see `vitnas.sharing`).
        largest: the stored architecture, where it is larger than that of the space.
        stored_space: the space whose sizes get tensors where a policy keeps them private, if it is
            wider than `space`.
        static: the model to take over instead of building one (its config must be the same).
        options: other options of the family's config, such as patch_size or drop_path_rate.

    Raises:
        InputError: an unknown option or policy, a space that doesn't fit inside what is stored, or
            private sizes without a space that lists them.
    """

    def __init__(
        self,
        space: Space | None,
        num_classes: int = 1000,
        img_size: int | tuple[int, int] = 224,
        *,
        sharing: Sharing = "prefix",
        largest: Arch | None = None,
        stored_space: Space | None = None,
        static: nn.Module | None = None,
        **options: Any,
    ) -> None:
        given = [one for one in (space, stored_space) if one is not None]
        for one in given:
            check_space(one)
        held = stored_space or space
        top = largest or (held.stored if held else None)
        if top is None:
            raise InputError("a supernet needs a space, or its largest architecture")
        for one in given:
            _check_family(top.family, "space", one.family)
        model = family_of(top)
        sizes = {"num_classes": num_classes, "img_size": img_size}
        options = {**dict(model.supernet), **options, **sizes}
        config = make_config(model, top, options)
        if config.drop_path_depth is None:
            config = make_config(model, top, {**options, "drop_path_depth": _layers(top)})
        units = model.units(config, top)
        law = rules(sharing, model.sharing)
        _check_axes(law, units)
        if law.private and held is None:
            raise InputError(
                "the sharing keeps sizes apart (independent), which needs a space that lists them; "
                "give space, or stored_space where other architectures may run too"
            )
        kinds = _kinds(held, model, config, units)
        storages = {
            unit.path: make_storage(model.name, config, kinds[unit.path], law) for unit in units
        }
        _check_kinds(kinds, storages)
        if space is not held:
            _check_kinds(_kinds(space, model, config, units), storages)
        static = model.build(config, top) if static is None else static
        super().__init__(static, storages[""])
        _check(model, config, static, units, law)
        for unit in units[1:]:
            part = static.get_submodule(unit.path)
            self.set_submodule(unit.path, ElasticBlock(part, storages[unit.path]))
        self._storages = storages
        self.space = space
        self.stored_space = stored_space
        self.largest = top
        self.input: dict[str, Any] | None = None
        """How images are prepared for pretrained weights; travels with extracted models."""

    @property
    def config(self) -> Any:
        """The family's config: classes, image size and options."""
        return self._storage.config

    @property
    def sharing(self) -> Rules:
        """The sharing policies in force."""
        return self._storage.sharing

    def units(self, arch: Arch) -> tuple[Unit, ...]:
        """Return the units of an architecture, the root first.

        Raises:
            InputError: the architecture is not in the space, or does not fit inside the largest.
        """
        check_arch(arch)
        units = _units(self.largest.family, self.config, self.space, self.largest, arch)
        if self.space is None:
            check_fits(units, self._storages)
        return units

    def sides(self, arch: Arch) -> tuple[Side | None, ...]:
        """Return the sides on which a subnet differs.

        None alone without a bilateral axis; left alone if both sides are the same, as of the
        largest subnet. The score of a subnet, and its loss in training, is the mean over these.
        """
        if not self.sharing.bilateral:
            return (None,)
        two = any(len(self._storages[u.path].sides(u.kind)) == 2 for u in self.units(arch))
        return SIDES if two else SIDES[:1]

    def parts(self, arch: Arch, side: str | None = None) -> tuple[tuple[Unit, Side | None], ...]:
        """Return the units of a subnet, each with the side it is cut from: left if both are equal.

        Raises:
            InputError: as for `units`, or the supernet has no such side.
        """
        asked = self.sharing.check_side(side)
        found = []
        for unit in self.units(arch):
            sides = self._storages[unit.path].sides(unit.kind)
            found.append((unit, asked if asked in sides else sides[0]))
        return tuple(found)

    def forward(self, x: Tensor, arch: Arch, side: str | None = None) -> Tensor:
        """Return the logits (B, num_classes) of a subnet for images (B, in_chans, H, W).

        `side` is for a bilateral supernet: left, which None is too, or right.

        Raises:
            InputError: the architecture is not in the space, or the supernet has no such side.
        """
        (root, own), *blocks = self.parts(arch, side)
        program = self.program(root.kind, x.device, own)
        parameters = self.slices(program.steps)
        model = family_of(self.largest)
        x = self.run(program, parameters, x, model.stem)
        for unit, own in blocks:
            block: Any = self.get_submodule(unit.path)  # an ElasticBlock, or a wrapper of one
            x = block(x, block.program(unit.kind, x.device, own))
        return self.run(program, parameters, x, model.head)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: keep only the input of each block, as timm's models do."""
        for module in self.modules():
            if isinstance(module, ElasticBlock):
                module.grad_checkpointing = enable

    @torch.no_grad()
    def subnet_state(self, arch: Arch, side: str | None = None) -> dict[str, Tensor]:
        """Return the state of a subnet under the static model's names, copied."""
        state: dict[str, Tensor] = {}
        for unit, own in self.parts(arch, side):
            elastic: Any = self.get_submodule(unit.path)
            prefix = f"{unit.model_path}." if unit.path else ""
            parts = elastic.slices(elastic.steps(unit.kind, own))
            state |= {prefix + name: tensor.clone() for name, tensor in parts.items()}
        return state

    def extract(self, arch: Arch, side: str | None = None) -> nn.Module:
        """Return a subnet as an ordinary static model with storage of its own.

        `side` is for a bilateral supernet: left, which None is too, or right.

        Raises:
            InputError: the architecture is not in the space, or the supernet has no such side.
        """
        state = self.subnet_state(arch, side)
        with torch.random.fork_rng(devices=[]):
            model = build_static(family_of(arch), self.config, arch)
        first = next(iter(state.values()))
        model.to(device=first.device, dtype=first.dtype)
        model.load_state_dict(state, strict=True)
        if self.input is not None:
            record: Any = model.vitnas_config
            record["input"] = self.input
        return model.train(self.training)

    @classmethod
    def from_timm(
        cls,
        name: str,
        space: Space | None = None,
        *,
        pretrained: bool = False,
        sharing: Sharing = "ranked",
        **kwargs: Any,
    ) -> Supernet:
        """Make a supernet of a timm ViT or DeiT; see `vitnas.models.timm_vit.from_timm`."""
        from vitnas.models.timm_vit import from_timm

        return from_timm(name, space, pretrained=pretrained, sharing=sharing, **kwargs)


def build(
    arch: Arch,
    num_classes: int = 1000,
    img_size: int | tuple[int, int] = 224,
    **options: Any,
) -> nn.Module:
    """Build the static model of an architecture, freshly initialised.

    Raises:
        InputError: the architecture lacks a gene of its family, or an option is unknown.
    """
    model = family_of(arch)
    config = make_config(model, arch, {**options, "num_classes": num_classes, "img_size": img_size})
    return build_static(model, config, arch)


def build_static(model: Family, config: Any, arch: Arch) -> nn.Module:
    """Build a static model that knows what it is: `model.vitnas_config` is a JSON-able record."""
    built = model.build(config, arch)
    record = {"arch": arch.to_dict(), "options": config.to_dict()}
    built.vitnas_config = record  # type: ignore[assignment]
    return built


@lru_cache(maxsize=16384)
def _units(
    name: str, config: Config, space: Space | None, largest: Arch, arch: Arch
) -> tuple[Unit, ...]:
    _check_family(name, "architecture", arch.family)
    if space is not None and arch != largest:
        space.validate(arch)
    model = family(name)
    make_config(model, arch, config.to_dict())
    return model.units(config, arch)


def _check_family(own: str, what: str, other: str) -> None:
    if other != own:
        raise InputError(f"the supernet is of family {own}, the {what} of {other}")


def check_fits(units: tuple[Unit, ...], storages: Mapping[str, Storage]) -> None:
    """Check that all parameters of some units are stored, and no larger than what is stored.

    Raises:
        InputError: they aren't; the message names the first that does not fit.
    """
    _check_kinds({unit.path: (unit.kind,) for unit in units}, storages)


def _check_kinds(kinds: Mapping[str, Sequence[Kind]], storages: Mapping[str, Storage]) -> None:
    for path, found in kinds.items():
        if path not in storages:
            raise InputError(f"the architecture has {path}, the supernet ends before it")
        for kind in found:
            storages[path].check(kind, path)


def _kinds(
    space: Space | None, model: Family, config: Any, stored: tuple[Unit, ...]
) -> dict[str, tuple[Kind, ...]]:
    """Return kinds of all sizes that each unit can have in a space, the stored one first.

    Units of the same sizes have the same kinds, whatever their settings, and so one storage.
    """
    known: dict[tuple[str, Any], Kind] = {}
    kinds: dict[str, dict[Kind, None]] = {}

    def add(units: tuple[Unit, ...]) -> None:
        for unit in units:
            kind = known.setdefault((unit.kind.role, unit.kind.sizes), unit.kind)
            kinds.setdefault(unit.path, {})[kind] = None

    add(stored)
    for arch in space.tied() if space is not None else ():
        make_config(model, arch, config.to_dict())
        add(model.units(config, arch))
    return {path: tuple(found) for path, found in kinds.items()}


def _check_axes(sharing: Rules, units: tuple[Unit, ...]) -> None:
    known = {axis for unit in units for axis in unit.kind.size}
    known |= {axes.plain(axis) for axis in known}
    for axis, _ in sharing.axes:
        if axis not in known:
            raise unknown("axis in the sharing", axis, known)


def _check(
    model: Family, config: Any, static: nn.Module, units: tuple[Unit, ...], sharing: Rules
) -> None:
    """Check that the layouts name the static model's parameters one to one, with their shapes."""
    parameters = dict(static.named_parameters())
    layouts, shapes = {}, {}
    for unit in units:
        prefix = f"{unit.path}." if unit.path else ""
        for name, text in model.layouts(config, unit.kind.role, sharing.legacy).items():
            layouts[prefix + name] = text
            shapes[prefix + name] = axes.parse(text).shape(unit.kind.size)
    axes.check_complete(layouts, parameters, model.name)
    for name, parameter in parameters.items():
        if shapes[name] != tuple(parameter.shape):
            raise ValueError(
                f"axis map of {model.name}: {name} is {tuple(parameter.shape)}, its layout "
                f"{layouts[name]!r} gives {shapes[name]}"
            )


def _layers(arch: Arch) -> int:
    depth: Any = arch["depth"]
    return sum(depth) if isinstance(depth, tuple) else int(depth)
