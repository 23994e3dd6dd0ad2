from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.data.vectors import vector_matrix


def test_a_column_in_chunks_is_one_matrix_of_its_dtype() -> None:
    rows = np.arange(12, dtype=np.float16).reshape(4, 3)
    chunks = [pa.array(list(part), pa.list_(pa.float16())) for part in (rows[:1], rows[1:])]
    matrix = vector_matrix(pa.chunked_array(chunks).slice(1))
    assert matrix.dtype == np.float16
    np.testing.assert_array_equal(matrix, rows[1:])


@pytest.mark.parametrize(("vectors", "sentence"), [([[1.0, 2.0], [1.0]], r"lengths \[1, 2\]"), ([], r"lengths \[\]")])
def test_vectors_without_one_length_are_refused(vectors: list[list[float]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        vector_matrix(pa.chunked_array([pa.array(vectors, pa.list_(pa.float32()))]))
