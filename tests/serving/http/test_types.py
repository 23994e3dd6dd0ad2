"""What the bodies of requests become."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from hnlm_ray.serving.http import types
from hnlm_ray.serving.recommend.options import RankingOptions


def test_every_wish_reaches_the_recommender() -> None:
    asked: dict[str, Any] = {
        "k": 3, "exclude_seen": False, "include_items": ["a", "b"], "exclude_items": ["c"], "categories": ["d"],
        "available_only": False, "diversity": 0.5, "popularity_penalty": 2.0,
    }  # fmt: skip
    expected = RankingOptions(3, False, ("a", "b"), ("c",), ("d",), False, 0.5, 2.0)
    assert types.RecommendRequest(user_id="u", **asked).ranking_options() == expected
    assert set(asked) == set(RankingOptions.__dataclass_fields__)


def test_without_a_wish_the_recommender_does_as_it_does_by_default() -> None:
    for request in (
        types.RecommendRequest(user_id="u"),
        types.BatchRequest(user_ids=["u"]),
        types.FoldInRequest(item_ids=["i"]),
        types.ProfileRequest(text="t"),
        types.SimilarRequest(item_id="i"),
    ):
        assert request.ranking_options() == RankingOptions()


def test_no_item_to_choose_from_is_not_the_same_as_all_items() -> None:
    assert types.RecommendRequest(user_id="u", include_items=[]).ranking_options().include_items == ()
    assert types.RecommendRequest(user_id="u", include_items=None).ranking_options().include_items is None


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (types.BatchRequest, {"user_ids": []}),
        (types.BatchRequest, {"user_ids": ["u"] * 1001}),
        (types.BatchRequest, {"user_ids": ["u", ""]}),
        (types.FoldInRequest, {"item_ids": []}),
        (types.FoldInRequest, {"item_ids": ["i"] * 1001}),
        (types.ScoreRequest, {"user_id": "u", "item_ids": ["i"] * 1001}),
        (types.ScoreRequest, {"user_id": "u", "item_ids": ["i"], "k": 1}),
        (types.ProfileRequest, {"text": ""}),
        (types.ProfileRequest, {"text": "x" * 4001}),
        (types.ProfileRequest, {"text": "x", "exclude_seen": True}),
        (types.SimilarRequest, {"item_id": "i" * 257}),
        (types.RecommendRequest, {"user_id": "u", "diversity": float("nan")}),
        (types.RecommendRequest, {"user_id": "u", "popularity_penalty": float("inf")}),
    ],
)
def test_what_is_out_of_bounds_is_refused(model: type[BaseModel], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model(**body)
