"""Randomness that depends on its key alone, so that order and augmentation can be recomputed.

The key is hashed, so neighbouring seeds, epochs and positions give unrelated streams. Orders use
numpy's raw Philox stream, which is fixed by its definition: unlike `torch.randperm` they stay the
same with every library version and on every machine.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray


def digest(*key: int | str) -> int:
    """A 256-bit hash of the key."""
    text = json.dumps(key).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=32).digest(), "little")


def permutation(length: int, *key: int | str) -> NDArray[np.int64]:
    """A random order of 0 … length - 1."""
    stream = np.random.Philox(key=digest(*key) % 2**128)
    return np.argsort(stream.random_raw(length), kind="stable").astype(np.int64)


def seed_all(*key: int | str) -> None:
    """Seed the global generators of `random`, numpy and torch (CPU), which timm's transforms use.

    Call it inside `isolated()`. Generators of accelerators are left alone.
    """
    import torch

    value = digest(*key)
    random.seed(value)
    np.random.seed([value >> shift & 0xFFFFFFFF for shift in range(0, 256, 32)])
    torch.default_generator.manual_seed(value % 2**63)


@contextmanager
def isolated() -> Iterator[None]:
    """Give the three global generators their states back at the end."""
    import torch

    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)


def generator(*key: int | str) -> np.random.Generator:
    """A generator of its own, for what draws for a whole batch at once."""
    return np.random.Generator(np.random.Philox(key=digest(*key) % 2**128))
