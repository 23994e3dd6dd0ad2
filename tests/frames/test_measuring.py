"""Splits and metrics of data frames against plain pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hnlm_ray
from hnlm_ray.errors import DataError


def interactions(seed: int, rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"user_id": rng.integers(0, 20, rows), "item_id": rng.integers(0, 50, rows)})
    data["timestamp"], data["note"] = rng.permutation(rows), [f"row {row}" for row in range(rows)]
    return data


@given(seed=st.integers(0, 1000), strategy=st.sampled_from(["random", "leave_last_two", "global_time"]))
def test_a_split_divides_the_rows_and_keeps_their_columns(seed: int, strategy: str) -> None:
    data = interactions(seed)
    parts = hnlm_ray.split(data, test=0.2, valid=0.1, strategy=strategy, seed=seed)  # type: ignore[arg-type]
    together = pd.concat(parts)
    assert sorted(together.note) == sorted(data.note)
    assert list(together.columns) == list(data.columns)
    for part in parts:
        assert part.note.str[4:].astype(int).is_monotonic_increasing
    assert len(parts.test) > 0
    if strategy == "random":
        again = hnlm_ray.split(data.sample(frac=1, random_state=1).sort_index(), test=0.2, valid=0.1, seed=seed)
        assert again.test.equals(parts.test)


def test_the_last_of_each_user_is_test() -> None:
    data = interactions(3)
    train, valid, test = hnlm_ray.split(data, strategy="leave_last_two")
    last = data.sort_values("timestamp").groupby("user_id").tail(1)
    assert sorted(test.note) == sorted(last.note)
    assert len(valid) == 20
    assert train.groupby("user_id").timestamp.max().lt(test.set_index("user_id").timestamp).all()
    moments = data.assign(timestamp=pd.to_datetime(data.timestamp, unit="s"))
    assert sorted(hnlm_ray.split(moments, strategy="leave_last_two").test.note) == sorted(test.note)


def test_metrics_are_those_of_ranx() -> None:
    ranx = pytest.importorskip("ranx")
    rng = np.random.default_rng(0)
    test = interactions(1)[["user_id", "item_id"]].drop_duplicates()
    rows = [
        {"user_id": user, "item_id": item, "rank": rank + 1}
        for user in range(20)
        for rank, item in enumerate(rng.permutation(50)[:10])
    ]
    shown = pd.DataFrame(rows).sample(frac=1, random_state=0)
    found = hnlm_ray.evaluate(shown, test, (5, 10)).set_index(["metric", "k"]).value
    qrels = ranx.Qrels({str(u): dict.fromkeys(map(str, part.item_id), 1) for u, part in test.groupby("user_id")})
    scores = shown.assign(score=-shown["rank"].astype(float)).astype({"item_id": str}).groupby("user_id")
    run = ranx.Run({str(user): dict(zip(part.item_id, part.score, strict=True)) for user, part in scores})
    theirs = {"recall": "recall", "ndcg": "ndcg", "precision": "precision", "hit_rate": "hit_rate", "mrr": "mrr"}
    for k in (5, 10):
        for ours, name in theirs.items():
            assert found[ours, k] == pytest.approx(ranx.evaluate(qrels, run, f"{name}@{k}")), (ours, k)


def test_users_without_recommendations_count_as_nothing_and_others_do_not_count() -> None:
    test = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "x"]})
    shown = pd.DataFrame({"user_id": ["a", "c"], "item_id": ["x", "x"]})
    found = hnlm_ray.evaluate(shown, test, (1,)).set_index("metric").value
    assert found["recall"] == found["ndcg"] == 0.5
    assert hnlm_ray.evaluate(shown.head(0), test, (1,)).value.eq(0).all()


def test_wrong_frames_are_one_sentence() -> None:
    data = interactions(0)
    with pytest.raises(DataError, match="recommendations lack the column 'item_id'"):
        hnlm_ray.evaluate(data[["user_id"]], data)
    with pytest.raises(DataError, match="test interactions have no row"):
        hnlm_ray.evaluate(data, data.head(0))
    with pytest.raises(DataError, match="give each user an item once"):
        hnlm_ray.evaluate(pd.concat([data.head(3), data.head(3)]), data)
    with pytest.raises(DataError, match="interactions have a row without a user or an item"):
        hnlm_ray.split(data.assign(user_id=data.user_id.astype("Int64").where(data.index > 0)))
    with pytest.raises(DataError, match="holds no times"):
        hnlm_ray.split(data.assign(timestamp="soon"), strategy="global_time")
