"""Derived randomness: a draw depends on what it is for, never on who draws it or in which order.

There are two forms. :func:`generator` gives a NumPy generator for one purpose, such as the split of one user or the
shuffle of one epoch. :func:`hash_counters` is stateless and vectorised: each element of an array of counters gets its
own 64-bit word, so that a million draws for a million pairs are the same whether one worker makes them or four.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["derive", "generator", "hash_counters", "uniform_integers"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose.

    Args:
        seed: the seed of the whole run.
        purpose: what the draws are for, for example ``("train", "shuffle", epoch)``.

    Returns:
        A non-negative integer below 2**63, equal on every machine and Python version.
    """
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in purpose)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose; the arguments are those of :func:`derive`."""
    return np.random.default_rng(derive(seed, *purpose))


def hash_counters(key: int, counters: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
    """One well-mixed 64-bit word per counter (SplitMix64, Steele et al., OOPSLA 2014).

    Args:
        key: a seed from :func:`derive`.
        counters: integers of any shape.

    Returns:
        uint64 array of the same shape; equal counters give equal words.
    """
    with np.errstate(over="ignore"):
        word = counters.astype(np.uint64) * _GOLDEN + np.uint64(key) + _GOLDEN
        word = (word ^ (word >> np.uint64(30))) * _MIX_1
        word = (word ^ (word >> np.uint64(27))) * _MIX_2
        return word ^ (word >> np.uint64(31))


def uniform_integers(key: int, counters: npt.NDArray[np.integer], upper: int) -> npt.NDArray[np.int32]:
    """One integer in ``[0, upper)`` per counter; the bias of the modulo is below ``upper / 2**32``.

    Args:
        key: a seed from :func:`derive`.
        counters: integers of any shape.
        upper: exclusive bound, at most 2**31.

    Returns:
        int32 array of the same shape.
    """
    high = hash_counters(key, counters) >> np.uint64(32)
    return ((high * np.uint64(upper)) >> np.uint64(32)).astype(np.int32)
