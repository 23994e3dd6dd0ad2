from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file, save_file

from hnlm_ray.run.tensors import mapped_tensors

DTYPES = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int32]).map(np.dtype)
TENSORS = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name != "__metadata__" and name.isprintable()),
    DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0))),
    max_size=4,
)
FILE_PER_EXAMPLE = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def owner(array: Any) -> Any:
    """What the memory of an array belongs to in the end."""
    while getattr(array, "base", None) is not None:
        array = array.base
        array = array.obj if isinstance(array, memoryview) else array
    return array


def laid_out(header: object, body: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


@FILE_PER_EXAMPLE
@given(tensors=TENSORS, metadata=st.none() | st.just({"format": "np"}))
def test_what_the_library_writes_is_read_as_the_library_reads_it(
    tmp_path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None
) -> None:
    path = str(tmp_path / "x.safetensors")
    save_file(tensors, path, metadata)
    found, expected = mapped_tensors(path), load_file(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_arrays_are_views_of_the_mapped_file_and_cannot_be_written(tmp_path: Path) -> None:
    path = str(tmp_path / "x.safetensors")
    save_file({"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.arange(5, dtype=np.int64)}, path)
    for array in mapped_tensors(path).values():
        assert type(array) is np.ndarray
        assert not array.flags.writeable
        assert not array.flags.owndata
        assert type(owner(array)).__name__ == "mmap"
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        laid_out({}, size=1),
        laid_out({}, size=500),
        laid_out({}, size=(100 << 20) + 1),
        laid_out({}, size=2**64 - 1),
        laid_out({"a": ONE}, b"abcd", size=500),  # a header that would end behind the file
        laid_out(b"[" * 100_000),
        laid_out(b"\xff\xff"),
        laid_out(b"{'a': 1}"),
        laid_out([]),
        laid_out([1]),
        laid_out("a header"),
        laid_out(77),
        laid_out(None),
        laid_out({"a": 1}, b"abcd"),
        laid_out({"a": {}}, b"abcd"),
        laid_out({"a": ONE}),
        laid_out({"a": ONE}, b"abc"),
        laid_out({"a": {**ONE, "dtype": "BF16"}}, b"abcd"),
        laid_out({"a": {**ONE, "dtype": ["F32"]}}, b"abcd"),
        laid_out({"a": {**ONE, "shape": None}}, b"abcd"),
        laid_out({"a": {**ONE, "shape": [2]}}, b"abcdefgh"),
        laid_out({"a": {**ONE, "shape": [-1, -1]}}, b"abcd"),
        laid_out({"a": {**ONE, "shape": [1.0]}}, b"abcd"),
        laid_out({"a": {**ONE, "shape": ["1"]}}, b"abcd"),
        laid_out({"a": {**ONE, "shape": [1] * 99}}, b"abcd"),
        laid_out({"a": {**ONE, "data_offsets": [-4, 0]}}, b"abcd"),
        laid_out({"a": {**ONE, "data_offsets": [-8, -4]}}, b"abcdefgh"),
        laid_out({"a": {**ONE, "data_offsets": [4, 0]}}, b"abcd"),
        laid_out({"a": {**ONE, "data_offsets": [1, 5]}}, b"abcd"),
        laid_out({"a": {**ONE, "data_offsets": [0, 4, 8]}}, b"abcd"),
        laid_out({"a": {**ONE, "data_offsets": [0.0, 4.0]}}, b"abcd"),
        laid_out({"a": {**ONE, "data_offsets": [0, 10**400]}}, b"abcd"),
        laid_out({"a": {**ONE, "shape": [10**400, 0], "data_offsets": [0, 0]}}, b"abcd"),
    ],
    ids=lambda content: ascii(content[:60]),
)
def test_a_malformed_file_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        mapped_tensors(str(path))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda leaf: st.lists(leaf, max_size=3) | st.dictionaries(st.text(max_size=3), leaf, max_size=3),
)
_SIZES = st.integers(-2, 9)
_ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F64", "F32", "F16", "I64", "I32"]) | _JSON,
        "shape": st.lists(_SIZES, max_size=3) | _JSON,
        "data_offsets": st.lists(_SIZES, min_size=2, max_size=2) | _JSON,
    }
)


@FILE_PER_EXAMPLE
@given(
    content=st.binary(max_size=200)
    | st.builds(laid_out, _JSON | st.binary(min_size=2, max_size=50), st.binary(max_size=20))
    | st.builds(laid_out, st.dictionaries(st.text(max_size=2), _ENTRIES, max_size=3), st.binary(max_size=20))
)
@example(content=laid_out({}))
def test_any_bytes_are_tensors_inside_the_file_or_a_value_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    try:
        tensors = mapped_tensors(str(path))
    except ValueError:
        return
    assert sum(array.nbytes for array in tensors.values()) <= len(tensors) * len(content)
    for array in tensors.values():
        assert array.tobytes() in content


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mapped_tensors(str(tmp_path / "x.safetensors"))


def test_reading_does_not_load_torch(tmp_path: Path) -> None:
    path = str(tmp_path / "x.safetensors")
    save_file({"a": np.ones(3, np.float32)}, path)
    script = (
        "import sys; from hnlm_ray.run.tensors import mapped_tensors\n"
        f"print(mapped_tensors({path!r})['a'].tolist(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "[1.0, 1.0, 1.0] False", done.stderr
