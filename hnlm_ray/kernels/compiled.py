"""Loops compiled by numba and cached on disk where possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["SCORE_OPTIONS", "compiled"]

SCORE_OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "fastmath": {"nnan", "nsz", "reassoc"}}
"""Options for loops over scores, which may be infinite but not NaN; only without NaN are maxima vectorised."""


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``numba.njit`` with these options and a cache on disk; compiles at the first call."""
    import numba

    kernel: Callable[..., Any]
    try:
        kernel = numba.njit(function, cache=True, **options)
    except RuntimeError:  # neither the package's folder nor the user's is writable
        kernel = numba.njit(function, **options)
    return kernel
