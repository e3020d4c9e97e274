"""Find the best vision transformer for your data and your budget.

What needs torch is resolved on first use, so that `import vitnas` and the command line start at
once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.space import Choice, Space
from vitnas.spaces import space, spaces
from vitnas.stratified import stratified
from vitnas.zoo import arch, archs

if TYPE_CHECKING:
    from vitnas.folder import load, save
    from vitnas.interop.convert import convert
    from vitnas.supernet import Supernet, build

__version__ = "0.1.0"

__all__ = [
    "Arch",
    "Choice",
    "InputError",
    "Space",
    "Supernet",
    "__version__",
    "arch",
    "archs",
    "build",
    "convert",
    "cost",
    "load",
    "save",
    "space",
    "spaces",
    "stratified",
]

_LAZY = {
    "Supernet": "vitnas.supernet",
    "build": "vitnas.supernet",
    "convert": "vitnas.interop.convert",
    "load": "vitnas.folder",
    "save": "vitnas.folder",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'vitnas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
