"""Features as a sparse matrix, and the sums of their trained vectors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from hnlm_ray.models import features
from hnlm_ray.models.features import FeatureMap, feature_rows
from hnlm_ray.tables import ITEM_FEATURES

ROWS = [
    {"item": 0, "feature": "brand", "value": None, "names": ["B"]},
    {"item": 2, "feature": "brand", "value": None, "names": ["A", "B"]},
    {"item": 0, "feature": "price", "value": 1.0, "names": None},
    {"item": 1, "feature": "price", "value": 3.0, "names": None},
]
TABLE = pa.Table.from_pylist(ROWS, schema=ITEM_FEATURES)


def test_names_have_columns_of_their_own_and_numbers_are_standardised_with_a_mark_where_they_are_missing() -> None:
    expected = [
        # B, A, others; price, missing
        [1.0, 0.0, 0.0, -1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0, 0.0],
        [0.5, 0.5, 0.0, 0.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
    np.testing.assert_allclose(feature_rows(TABLE, 4).toarray(), expected)


def test_rare_names_share_a_column_and_a_constant_number_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MOST_NAMES", 1)
    constant = [{**row, "value": 5.0} if row["names"] is None else row for row in ROWS]
    rows = feature_rows(pa.Table.from_pylist(constant, schema=ITEM_FEATURES), 3).toarray()
    np.testing.assert_allclose(rows, [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 1.0]])


def test_the_map_is_the_product_with_its_weights_and_starts_at_zero() -> None:
    rows = feature_rows(TABLE, 4)
    feature_map = FeatureMap(rows, 3, torch.device("cpu"))
    assert not feature_map(feature_map.weight).any()
    assert [name for name, _ in feature_map.named_parameters()] == ["weight"]
    assert not list(feature_map.named_buffers())
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = feature_map(weight)
    np.testing.assert_allclose(found.detach(), rows.toarray() @ weight.detach().numpy(), rtol=1e-5)
    found.sum().backward()  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(weight.grad, np.repeat(rows.toarray().sum(axis=0)[:, None], 3, axis=1), rtol=1e-5)
