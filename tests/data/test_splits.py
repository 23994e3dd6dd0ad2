from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.config.data import SplitConfig
from hnlm_ray.data.splits import TEST, TRAIN, VALID, pairs_in_two_splits, require_held_out, split, thinned
from hnlm_ray.errors import DataError


def labels(strategy: str, counts: list[int], seed: int = 0, **options: object) -> np.ndarray:
    users = np.repeat(np.arange(len(counts)), counts)
    ids = options.pop("ids", np.array([f"u{n}" for n in range(len(counts))], object))
    times = options.pop("times", np.arange(len(users)))
    present = options.pop("present", np.ones(len(users), bool))
    given_labels = options.pop("given", None)
    return split(SplitConfig(strategy=strategy, **options), seed, users, ids, times, present, given_labels)  # type: ignore[arg-type]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(0, 99))
def test_random_keeps_the_fractions_and_a_train_row_for_everyone(counts: list[int], seed: int) -> None:
    drawn = np.split(labels("random", counts, seed), np.cumsum(counts)[:-1])
    for mine, count in zip(drawn, counts, strict=True):
        assert (mine == TRAIN).sum() >= 1
        assert (mine == TEST).sum() == min(int(count * 0.1 + 0.5), count - 1)
        assert (mine == VALID).sum() == min(int(count * 0.1 + 0.5), count - 1 - (mine == TEST).sum())


def test_a_user_is_split_alike_among_others() -> None:
    together = labels("random", [7, 20, 13])
    alone = labels("random", [20], ids=np.array(["u1"], object))
    assert together[7:27].tolist() == alone.tolist()
    assert labels("random", [20], seed=1).tolist() != labels("random", [20], seed=2).tolist()


def test_random_rows_are_drawn_evenly() -> None:
    drawn = labels("random", [10] * 4000).reshape(4000, 10)
    share = (drawn == TEST).mean(axis=0)
    assert np.all(np.abs(share - 0.1) < 0.02)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_a_smaller_share_of_train_is_part_of_a_larger_one(counts: list[int], one: float, other: float) -> None:
    users, ids = np.repeat(np.arange(len(counts)), counts), np.array([f"u{n}" for n in range(len(counts))], object)
    drawn = labels("random", counts)
    few, many = (thinned(share, 0, users, ids, drawn) for share in sorted((one, other)))
    assert many[few].all()
    assert few[drawn != TRAIN].all()
    train = np.bincount(users[drawn == TRAIN])
    np.testing.assert_array_equal(np.bincount(users[few & (drawn == TRAIN)]), np.ceil(train * min(one, other)))


def test_leave_last_two() -> None:
    assert labels("leave_last_two", [4, 2, 3]).tolist() == [TRAIN, TRAIN, VALID, TEST, TRAIN, TRAIN, TRAIN, VALID, TEST]


def test_global_time_cuts_all_users_at_the_same_moments() -> None:
    times = np.array([5, 95, 50, 99, 1, 85, 10, 20, 30, 40])
    drawn = labels("global_time", [4, 6], times=times)
    assert times[drawn == TRAIN].max() < times[drawn == VALID].min()
    assert times[drawn == VALID].max() < times[drawn == TEST].min()
    assert (drawn == TEST).sum() == 1


def test_the_data_may_say() -> None:
    given_labels = np.array(["train", "val ", "Test"], object)
    assert labels("column", [3], given=given_labels).tolist() == [TRAIN, VALID, TEST]


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("global_time", {"present": np.array([True, False, True])}, "needs timestamps and 1 interactions have none"),
        ("global_time", {"times": np.zeros(3, np.int64)}, "no train interactions"),
        ("leave_last_two", {"present": np.array([True, False, True])}, "needs timestamps"),
        ("column", {}, "no split column"),
        ("column", {"given": np.array(["train", "maybe", "test"], object)}, "holds 'maybe'"),
        ("column", {"given": np.array(["train", None, "test"], object)}, "1 of 3 rows of the split column are empty"),
    ],
)
def test_a_law_that_does_not_fit_says_so(strategy: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        labels(strategy, [3], **options)


def test_pairs_in_two_splits_are_counted_once() -> None:
    users, items = np.array([0, 0, 0, 1, 1, 1]), np.array([3, 3, 3, 3, 0, 0])
    given_labels = pa.chunked_array([["train", "test", "valid", "test", "train", "train"]])
    assert pairs_in_two_splits(users, items, given_labels) == 1
    assert pairs_in_two_splits(users, items, None) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "split valid or test, because a user needs 5 interactions for that and none has more than 2; bring more"),
        ({"valid": 0.4, "test": 0.05}, "needs 10 interactions"),
        ({"valid": 0.0}, r"because data\.split\.valid=0; raise data\.split\.valid"),
        ({"strategy": "leave_last_two"}, "needs 3 interactions for that and none has more than 2"),
        ({"strategy": "column"}, "label some rows"),
        ({"strategy": "global_time", "test": 0.0}, r"because data\.split\.test=0"),
    ],
)
def test_nothing_held_out(options: dict[str, object], message: str) -> None:
    table = pa.table({"user": [0, 0, 1], "split": ["train"] * 3})
    with pytest.raises(DataError, match=message):
        require_held_out(table, SplitConfig.model_validate(options))


def test_one_row_of_each_split_is_enough() -> None:
    require_held_out(pa.table({"user": [0, 0, 1], "split": ["train", "valid", "test"]}), SplitConfig())
    with pytest.raises(DataError, match="falls into the split test"):
        require_held_out(pa.table({"user": [0, 1], "split": ["train", "valid"]}), SplitConfig())
