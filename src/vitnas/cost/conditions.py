"""Where and how a net will run: what a measured latency and a peak memory hold for."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.errors import InputError, unknown

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
BACKENDS = ("eager", "compile", "onnxruntime")


@dataclass(frozen=True)
class Settings:
    """The device with its name and its software, and how a net runs there. Made by `settings`.

    `threads` are those of a CPU, None elsewhere.
    """

    device: str
    hardware: str
    threads: int | None
    dtype: str
    backend: str
    batch_size: int
    software: str

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
        images = f"batch size {self.batch_size}"
        return (
            f"{self.device} ({self.hardware}{threads}), {images}, {self.dtype}, {self.backend}, "
            f"{self.software}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Settings:
        """Read what `to_dict` wrote."""
        return cls(**record)

    def differences(self, other: Settings) -> list[str]:
        """Return the fields in which another one differs, with both values."""
        fields = [field.name for field in dataclasses.fields(self)]
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in fields]
        return [f"{name} {mine}, not {its}" for name, mine, its in pairs if mine != its]


def settings(
    device: str | torch.device = "auto",
    *,
    threads: int | None = None,
    dtype: str = "float32",
    backend: str = "eager",
    batch_size: int = 1,
) -> Settings:
    """Return the settings of this machine.

    Args:
        device: auto (the best there is), cpu, cuda, cuda:1 or mps.
        threads: of a CPU; by default those that torch has.
        dtype: float32, bfloat16 or float16, of weights and images.
        backend: eager (torch), compile (torch.compile, each block by itself) or onnxruntime (on a
            CPU; installed by `pip install 'vitnas[onnx]'`).
        batch_size: images together.

    Raises:
        InputError: a wrong name or number, a backend that is not installed or can't do this.
    """
    from importlib.metadata import version

    import torch

    from vitnas.devices import resolve_device

    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    for name, number in (("batch_size", batch_size), ("threads", threads)):
        if number is not None and (type(number) is not int or number < 1):
            raise InputError(f"{name} is {number!r}; it must be a whole number from 1")
    where = resolve_device(str(device))
    on_cpu = where.type == "cpu"
    if threads is not None and not on_cpu:
        raise InputError(f"threads are of a CPU, the device is {where}")
    software = f"torch {torch.__version__}"
    if backend == "onnxruntime":
        _check_onnx(where, dtype)
        software = f"onnxruntime {version('onnxruntime')}"
    return Settings(
        str(where),
        _hardware(where),
        (threads or torch.get_num_threads()) if on_cpu else None,
        dtype,
        backend,
        batch_size,
        software,
    )


def missing_onnx() -> list[str]:
    """Return which of the packages that write and run ONNX models are not installed."""
    return [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]


def _check_onnx(device: torch.device, dtype: str) -> None:
    missing = missing_onnx()
    if missing:
        raise InputError(
            f"backend onnxruntime needs {', '.join(missing)}; install with "
            "`pip install 'vitnas[onnx]'`, or use eager or compile"
        )
    if device.type != "cpu":
        raise InputError(f"backend onnxruntime is measured on cpu, not on {device}")
    if dtype == "bfloat16":
        raise InputError("backend onnxruntime takes float32 or float16, not bfloat16")


def _hardware(device: torch.device) -> str:
    """Return a GPU's name, or a CPU's where the system tells it, else its architecture."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    path = Path("/proc/cpuinfo")
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
