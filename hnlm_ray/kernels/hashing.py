"""Derived randomness on tensors: :func:`hnlm_ray.seeds.hash_counters` on any device, bit for bit."""

from __future__ import annotations

import torch

from hnlm_ray import seeds

__all__ = ["hash_words", "random_below", "uniform_rows"]

_ROW_BLOCK = 1024


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def hash_words(key: int, counters: torch.Tensor) -> torch.Tensor:
    """One well-mixed 64-bit word per counter, as the int64 with the same bits.

    Args:
        key: a seed from :func:`hnlm_ray.seeds.derive`.
        counters: int64 of any shape.

    Returns:
        int64 of the shape of ``counters``.
    """
    word = counters * _GOLDEN + (key + _GOLDEN)
    word = (word ^ _logical_shift(word, 30)).mul_(_MIX_1)
    word = (word ^ _logical_shift(word, 27)).mul_(_MIX_2)
    return word ^ _logical_shift(word, 31)


def random_below(key: int, counters: torch.Tensor, bound: torch.Tensor | int) -> torch.Tensor:
    """One integer in ``[0, bound)`` per counter, int64, uniform up to a bias below ``bound / 2**32``.

    Args:
        key: a seed from :func:`hnlm_ray.seeds.derive`.
        counters: int64 of any shape.
        bound: below 2**31; broadcast against ``counters``.
    """
    return (_logical_shift(hash_words(key, counters), 32) * bound) >> 32


def uniform_rows(seed: int, purpose: tuple[str | int, ...], first: int, last: int, dim: int) -> torch.Tensor:
    """Uniform numbers in [0, 1) for the rows ``first`` to ``last - 1`` of an unbounded table that ``purpose`` names.

    Every 1024 rows have a generator of their own, so that a worker draws its own rows without those before them.

    Args:
        seed: of the fit.
        purpose: what the table is for; another purpose or seed gives another table.
        first: number of the first row.
        last: number after the last row.
        dim: columns.

    Returns:
        (last - first, dim) float32 on the CPU.
    """
    blocks = []
    for number in range(first // _ROW_BLOCK, -(-last // _ROW_BLOCK)):
        generator = torch.Generator().manual_seed(seeds.derive(seed, *purpose, number))
        rows = torch.rand(_ROW_BLOCK, dim, generator=generator)
        start = number * _ROW_BLOCK
        blocks.append(rows[max(first - start, 0) : last - start])
    return torch.cat(blocks) if blocks else torch.empty(0, dim)


def _logical_shift(word: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right and fill with zeros; PyTorch's own shift fills with the sign."""
    return (word >> bits).bitwise_and_((1 << (64 - bits)) - 1)
