"""Loops compiled by numba, kept on disk for the next process where that can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["compiled"]


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``numba.njit`` with these options; the compilation happens at the first call."""
    import numba

    kernel: Callable[..., Any]
    try:
        kernel = numba.njit(function, cache=True, **options)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        kernel = numba.njit(function, **options)
    return kernel
