"""Model folders without vitnas."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


def modeling(folder: Path) -> Any:
    """Import the modeling.py of a folder; it stays without a name in `sys.modules`."""
    spec = spec_from_file_location("modeling", folder / "modeling.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
