from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from hnlm_ray.errors import BundleError, DataError
from hnlm_ray.serving.bundle.contents import Contents


def _offsets(contents: Contents, user: int, value: int) -> np.ndarray:
    changed = contents.seen_offsets.copy()
    changed[user] = value
    return changed


def _seen(contents: Contents, place: int, value: int) -> np.ndarray:
    changed = contents.seen_items.copy()
    changed[place] = value
    return changed


def _nan(vectors: np.ndarray) -> np.ndarray:
    changed = vectors.copy()
    changed[3, 1] = np.nan
    return changed


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("user_vectors", lambda c: c.user_vectors[:-1], "user_vectors has shape (39, 4), expected (40, 4)"),
        ("item_vectors", lambda c: c.item_vectors[:, :3], "user_vectors has shape (40, 4), expected (40, 3)"),
        ("user_vectors", lambda c: c.user_vectors.astype(np.float64), "user_vectors is float64, expected float32"),
        ("item_vectors", lambda c: _nan(c.item_vectors), "item_vectors holds values that are not finite"),
        ("popularity", lambda c: c.popularity[:5], "popularity has shape (5,), expected (60,)"),
        ("seen_offsets", lambda c: _offsets(c, -1, 3), "seen_offsets do not divide"),
        ("seen_offsets", lambda c: _offsets(c, 5, 0), "seen_offsets do not divide"),
        ("seen_items", lambda c: _seen(c, 0, 60), "outside 0 to 59"),
        ("seen_items", lambda c: _seen(c, 0, -1), "outside 0 to 59"),
        ("seen_items", lambda c: _seen(c, 1, c.seen_items[0]), "not ascending and distinct"),
        ("users", lambda c: c.users.take(list(range(39, -1, -1))), "users are not numbered 0 to 39 in order"),
        ("items", lambda c: c.items.slice(1), "item_vectors has shape (60, 4), expected (59, 4)"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(contents: Contents, field: str, change: Any, words: str) -> None:
    with pytest.raises(BundleError) as caught:
        dataclasses.replace(contents, **{field: change(contents)})
    assert words in str(caught.value)


def test_a_table_without_a_column_is_refused(contents: Contents) -> None:
    with pytest.raises(DataError, match="items of the bundle lacks the column 'title'"):
        dataclasses.replace(contents, items=contents.items.drop_columns(["title"]))


def test_a_smaller_first_item_of_the_next_user_is_allowed(contents: Contents) -> None:
    # u1 ends with item 59 and u2 begins with item 0; u0 is empty.
    assert contents.seen_items[contents.seen_offsets[2] - 1] == 59
    assert contents.seen_items[contents.seen_offsets[2]] == 0
