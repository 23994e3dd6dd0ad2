"""Tensors of a safetensors file as NumPy arrays over the mapped file, so that nothing is copied and processes share it.

The library itself copies a file into NumPy arrays, or maps it with torch, which a service does not load otherwise.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["mapped_tensors"]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
_LARGEST_HEADER = 100 << 20  # as in the library


def mapped_tensors(path: str) -> dict[str, npt.NDArray[Any]]:
    """Every tensor of a file, read-only.

    Raises:
        ValueError: the file is not safetensors, or has a dtype that no model here uses.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        head = stream.read(8)
        (size,) = struct.unpack("<Q", head) if len(head) == 8 else (0,)
        if not 2 <= size <= _LARGEST_HEADER:
            raise ValueError("it is not a safetensors file")
        text = stream.read(size)
    if len(text) < size:
        raise ValueError("it ends inside its header")
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        content = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + size) if header else np.empty(0, np.uint8)
        return {name: _tensor(content, entry) for name, entry in header.items()}
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"its header cannot be understood ({error})") from error


def _tensor(content: npt.NDArray[np.uint8], entry: dict[str, Any]) -> npt.NDArray[Any]:
    dtype, shape, (start, stop) = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"]), entry["data_offsets"]
    if not 0 <= start <= stop <= len(content) or stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError("a tensor lies outside the file")
    # Not a memmap: its bookkeeping costs more than a small product.
    return np.frombuffer(content[start:stop], dtype=dtype).reshape(shape)
