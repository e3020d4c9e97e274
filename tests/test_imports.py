"""What may import what: dependencies point down, and what needs no torch does not bring it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vitnas
from vitnas.folder import modeling
from vitnas.models import FAMILIES, family

ROOT = Path(vitnas.__file__).parent

TORCH_FREE = [
    "vitnas",
    "vitnas.arch",
    "vitnas.axes",
    "vitnas.cli",
    "vitnas.commands",
    "vitnas.cost",
    "vitnas.errors",
    "vitnas.files",
    "vitnas.interop.cream",
    "vitnas.interop.mmrazor",
    "vitnas.interop.nni",
    "vitnas.interop.originals",
    "vitnas.interop.s3",
    "vitnas.interop.vitas",
    "vitnas.models",
    "vitnas.models.autoformer",
    "vitnas.models.swin",
    "vitnas.models.vit",
    "vitnas.models.vitas",
    "vitnas.run",
    "vitnas.runs",
    "vitnas.search",
    "vitnas.search.evolution",
    "vitnas.search.ledger",
    "vitnas.search.limits",
    "vitnas.search.searcher",
    "vitnas.search.space_evolution",
    "vitnas.search.study",
    "vitnas.sharing",
    "vitnas.space",
    "vitnas.spaces",
    "vitnas.standing",
    "vitnas.stratified",
    "vitnas.train.recipe",
    "vitnas.yaml_text",
    "vitnas.zoo",
]
HEAVY = ("torch", "timm", "lightning_fabric", "plotly", "sklearn", "torchvision")

# A part of the package → the parts it may import, beside itself and those that need nothing.
BASE = {"errors", "files", "folders", "yaml_text"}
SPACE = {"arch", "choice", "genes", "space"}
SIZES = {"axes", "sharing"}
NET = {"slicing", "storage", "elastic", "supernet"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "folders": set(),
    "yaml_text": set(),
    "devices": set(),
    "arch": set(),
    "genes": set(),
    "choice": {"arch", "genes"},
    "space": {"arch", "choice", "genes"},
    "stratified": SPACE,
    "axes": set(),
    "sharing": {"axes"},
    "slicing": SIZES,
    "nn": set(),
    "models": SPACE | SIZES | {"nn"},
    "storage": SIZES | {"slicing", "models"},
    "elastic": SIZES | {"slicing", "storage", "models"},
    "supernet": SPACE | SIZES | {"slicing", "storage", "elastic", "models"},
    "ranking": SPACE | SIZES | NET,
    "spaces": SPACE | {"models"},
    "zoo": {"arch"},
    "compiling": SPACE | NET | {"models"},
    "cost": SPACE | {"axes", "models", "devices", "compiling"},
    "folder": SPACE | NET | {"models", "nn"},
    "resize": SPACE | NET | {"models"},
    "interop": SPACE | SIZES | NET | {"models", "spaces", "folder", "zoo", "data"},
    "data": set(),
    "search": SPACE | {"stratified", "cost"},
}
# `Supernet.from_timm` and what it calls: a constructor that has to know a family.
EXCEPTIONS = {
    ("models/timm_vit.py", "supernet"),
    ("models/timm_vit.py", "ranking"),
}


# What everything else is forbidden: the top knows the rest, never the other way round.
FORBIDDEN = {
    "evaluate": {"train", "search", "report", "run", "cli"},
    "train": {"search", "report", "run", "cli"},
    "report": {"cli"},
}


def part_of(module: str) -> str:
    """Return the part of the package that a dotted module name belongs to."""
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    """Return the modules of this package that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            if node.module == "vitnas":
                found |= {f"vitnas.{alias.name}" for alias in node.names}
            else:
                found.add(str(node.module))
    return {name for name in found if name.partition(".")[0] == "vitnas"}


def sources() -> list[Path]:
    """Return the files of the parts that have rules."""
    return [path for path in sorted(ROOT.rglob("*.py")) if _part(path) in ALLOWED]


def _part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_point_down(path: Path) -> None:
    part, name = _part(path), str(path.relative_to(ROOT))
    wrong = {
        module
        for module in imported(path)
        if part_of(module) not in ALLOWED[part] | BASE | {part}
        and (name, part_of(module)) not in EXCEPTIONS
    }
    assert not wrong, f"{name} (part {part}) imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("part", FORBIDDEN)
def test_the_top_is_not_known_below(part: str) -> None:
    paths = [path for path in ROOT.rglob("*.py") if _part(path) == part]
    assert paths
    for path in paths:
        wrong = {part_of(module) for module in imported(path)} & FORBIDDEN[part]
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_the_rules_have_no_cycle() -> None:
    """A part may import only what may not import it, directly or not."""
    below: dict[str, set[str]] = {}

    def reach(part: str, above: tuple[str, ...]) -> set[str]:
        assert part not in above, f"cycle: {' -> '.join((*above, part))}"
        if part not in below:
            found = ALLOWED[part] | set()
            for other in ALLOWED[part]:
                found |= reach(other, (*above, part))
            below[part] = found
        return below[part]

    for part in ALLOWED:
        assert part not in reach(part, ())


def test_every_part_exists_and_the_tests_of_a_name_are_not_vacuous() -> None:
    parts = {_part(path) for path in sources()}
    assert parts == set(ALLOWED)
    assert part_of("vitnas.search.ledger") == "search"
    assert "vitnas.arch" in imported(ROOT / "space.py")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_models_code_imports_nothing_of_vitnas(name: str, tmp_path: Path) -> None:
    path = tmp_path / "modeling.py"
    path.write_text(modeling(name))
    assert "class " in path.read_text()
    assert not imported(path)
    own = ROOT.parent / f"{family(name).modeling.replace('.', '/')}.py"
    assert {each.rpartition(".")[0] for each in imported(own)} <= {"vitnas.nn"}


def test_the_torch_free_modules_bring_nothing_heavy() -> None:
    """One process for all, so that the first module that brings torch is named."""
    code = (
        "import importlib, sys\n"
        f"for name in {TORCH_FREE!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [module for module in {HEAVY!r} if module in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
        "import vitnas\n"
        "space = vitnas.space('autoformer-tiny')\n"
        "arch = space.sample(0)\n"
        "vitnas.cost.params(arch), vitnas.cost.macs(arch), arch in space\n"
        f"assert not [module for module in {HEAVY!r} if module in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


SLOW = ("numpy", "PIL", "pydantic", "rich")
REFUSED = [
    ["trian"],
    ["profile", "autoformer-tny"],
    ["spaces", "autoformer-tny"],
    ["archs", "autoformer-tny"],
    ["search", "run", "--nosuch", "3"],
    ["train", "digts", "run"],
]


def test_names_are_refused_before_anything_slow_is_loaded() -> None:
    code = (
        "import sys\n"
        "from vitnas.cli import main\n"
        f"for words in {REFUSED!r}:\n"
        "    assert main(words) == 2, words\n"
        f"    slow = [module for module in {SLOW!r} if module in sys.modules]\n"
        "    assert not slow, f'{words} imports {slow}'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_resolve() -> None:
    assert set(dir(vitnas)) == set(vitnas.__all__)
    for name in vitnas.__all__:
        assert getattr(vitnas, name) is not None
    with pytest.raises(AttributeError, match="module 'vitnas' has no attribute 'supernet_'"):
        _ = vitnas.supernet_
