from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.data import DataConfig, DemoWorldConfig
from hnlm_ray.data.preparation import Prepared, prepare_tables, renumber_truth
from hnlm_ray.data.raw import RAW_ITEMS, RawData, from_columns
from hnlm_ray.demo.world import generate
from hnlm_ray.errors import DataError
from hnlm_ray.tables import INTERACTIONS, ITEMS, USERS

NO_ITEMS = RAW_ITEMS.empty_table()
WORLD = generate(DemoWorldConfig(users=60, items=48, interactions=900))


def prepare(interactions: dict[str, Any], seed: int = 0, **options: Any) -> Prepared:
    config = DataConfig.model_validate({"items": "", **options})
    return prepare_tables(from_columns(pa.table(interactions), NO_ITEMS), config, seed)


def prepare_world(raw: RawData, seed: int = 0, **options: Any) -> Prepared:
    return prepare_tables(raw, DataConfig.model_validate(options), seed)


def test_tables_follow_the_contract_and_the_counts_add_up() -> None:
    raw = from_columns(WORLD.interactions, WORLD.items)
    made = prepare_world(raw, min_rating=4, k_core=3, max_history=12)
    thin = prepare_world(raw, min_rating=4, k_core=3, max_history=12, split={"train_share": 0.5})
    assert thin.users.equals(made.users)  # and items that train has lost
    assert thin.items.equals(made.items)
    assert {name: thin.counts[name] for name in ("valid", "test")} == {
        name: made.counts[name] for name in ("valid", "test")
    }
    assert thin.counts["dropped_by_train_share"] == made.counts["train"] - thin.counts["train"] > 0
    assert made.users.schema == USERS
    assert made.items.schema == ITEMS
    assert made.interactions.schema == INTERACTIONS
    counts = made.counts
    assert (counts["users"], counts["items"], counts["interactions"]) == (
        made.users.num_rows,
        made.items.num_rows,
        made.interactions.num_rows,
    )
    assert counts["train"] + counts["valid"] + counts["test"] == counts["interactions"]
    dropped = sum(count for name, count in counts.items() if name.startswith("dropped_by"))
    assert dropped + counts["interactions"] == raw.interactions.num_rows
    assert all(made.items[name].null_count == 0 for name in ITEMS.names)
    assert made.interactions["review"].null_count == 0
    for name in ("user", "item"):
        numbers, sizes = np.unique(made.interactions[name].to_numpy(), return_counts=True)
        assert numbers.tolist() == list(range(counts[f"{name}s"]))
        assert sizes.min() >= 3


def test_the_order_of_raw_rows_does_not_matter_where_time_decides() -> None:
    shuffled = np.random.default_rng(0).permutation(WORLD.interactions.num_rows)
    turned = from_columns(WORLD.interactions.take(shuffled), WORLD.items.slice(0))
    first = prepare_world(from_columns(WORLD.interactions, WORLD.items), max_history=10)
    second = prepare_world(turned, max_history=10)
    assert second.interactions.equals(first.interactions)
    assert second.items.equals(first.items)


def test_rows_stand_by_user_then_time_then_as_they_came() -> None:
    made = prepare(
        {"user_id": list("bbbba"), "item_id": list("12345"), "timestamp": [7, None, 5, None, 1]},
        split={"valid": 0.0, "test": 0.0},
    )
    assert made.users["user_id"].to_pylist() == ["a", "b"]
    assert [made.items["item_id"][i].as_py() for i in made.interactions["item"].to_pylist()] == list("52431")
    assert made.interactions["timestamp"].to_pylist() == [1, None, None, 5, 7]


def test_of_a_repeated_pair_the_latest_row_stays_with_its_split() -> None:
    made = prepare(
        {
            "user_id": ["u"] * 3,
            "item_id": ["1", "1", "2"],
            "timestamp": [9, 4, 5],
            "rating": [5.0, 1.0, 2.0],
            "split": ["test", "train", "train"],
        },
        split={"strategy": "column"},
    )
    assert made.interactions.select(["item", "rating", "split"]).to_pylist() == [
        {"item": 1, "rating": 2.0, "split": "train"},
        {"item": 0, "rating": 5.0, "split": "test"},
    ]
    assert made.counts["pairs_repeated"] == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"min_rating": 6}, r"data\.min_rating=6\.0 leaves none of 3 interactions"),
        ({"date_from": "2030-01-01"}, r"data\.date_from=2030-01-01, .* leaves none of 3"),
        ({"k_core": 4}, r"data\.k_core=4 leaves none of 3"),
        ({"split": {"strategy": "column"}}, "no split column"),
        ({"split": {"strategy": "global_time"}}, "needs timestamps and 3 interactions have none"),
    ],
)
def test_what_leaves_nothing_says_so(options: dict[str, Any], sentence: str) -> None:
    rows = {"user_id": list("aab"), "item_id": list("121"), "rating": [1.0, 2.0, 3.0]}
    with pytest.raises(DataError, match=sentence):
        prepare(rows, **options)


def test_no_interaction_at_all() -> None:
    with pytest.raises(DataError, match="no interaction with a user id and an item id"):
        prepare({"user_id": ["", None], "item_id": ["1", "2"]}, split={"valid": 0.0, "test": 0.0})


def test_truth_is_kept_for_kept_users_and_items_alone() -> None:
    made = prepare_world(from_columns(WORLD.interactions, WORLD.items), min_rating=4, k_core=4)
    truth = renumber_truth(WORLD.truth, made.users, made.items)
    assert truth.num_rows == made.users.num_rows * made.items.num_rows < WORLD.truth.num_rows
    row = truth.slice(truth.num_rows // 2, 1).to_pylist()[0]
    user, item = made.users["user_id"][row["user"]].as_py(), made.items["item_id"][row["item"]].as_py()
    assert row["probability"] == WORLD.tastes.probability[int(user[1:]), int(item[1:])]


def test_the_newest_is_test_whatever_the_unit_and_the_order_of_rows() -> None:
    for scale in (1, 1000, 10**9):
        moments = [(1_500_000_000.0 + 60 * n) * scale for n in reversed(range(10))]
        rows = {"user_id": ["u"] * 10, "item_id": [f"i{n}" for n in reversed(range(10))], "timestamp": moments}
        made = prepare(rows, split={"strategy": "leave_last_two"})
        last = made.interactions.slice(9).to_pylist()[0]
        assert (made.items["item_id"][last["item"]].as_py(), last["split"]) == ("i9", "test")
        assert last["timestamp"] == 1_500_000_540
    assert made.notes == ("timestamps are read as nanoseconds since 1970",)
    assert made.counts["timestamps_in_nanoseconds"] == 10


def test_events_within_one_second_keep_their_order() -> None:
    rows = {"user_id": ["u"] * 3, "item_id": list("cba"), "timestamp": [1_500_000_000_900, 1_500_000_000_500, 15e11]}
    made = prepare(rows, split={"strategy": "leave_last_two"})
    assert [made.items["item_id"][i].as_py() for i in made.interactions["item"].to_pylist()] == list("abc")
    assert made.interactions["timestamp"].to_pylist() == [1_500_000_000] * 3


def test_without_times_the_order_of_rows_is_said() -> None:
    made = prepare({"user_id": ["u"] * 3, "item_id": list("abc")}, split={"strategy": "leave_last_two"})
    assert made.notes == ("there are no timestamps; the order of the rows stands in for time",)


def described(interactions: dict[str, Any], catalogue: dict[str, Any], **options: Any) -> Prepared:
    raw = from_columns(pa.table(interactions), pa.table(catalogue))
    return prepare_tables(raw, DataConfig.model_validate(options), 0)


def test_ids_that_do_not_meet_stop_and_the_limit_is_an_option() -> None:
    rows, items = {"user_id": list("aab"), "item_id": ["001", "002", "7"]}, {"item_id": ["1", "2", "7"]}
    with pytest.raises(DataError) as caught:
        described(rows, items)
    assert str(caught.value).startswith(
        "2 of 3 interactions (66.7%, more than data.max_unknown_items=0.5) have an item that the items lack, such as"
        " '001', while the items have ids such as '1': one side has lost its leading zeros; "
    )
    made = described(rows, items, max_unknown_items=1.0)
    assert made.counts["items_unknown"] == 2
    assert "one side has lost its leading zeros; their titles are their ids" in made.warnings[0]
    assert described(rows, {"item_id": ["001", "002", "7"]}).counts["items_unknown"] == 0
    assert not described(rows, items | {"title": list("ABC")}, items="").warnings


def test_items_need_be_known_of_what_filters_leave() -> None:
    rows = {"user_id": list("aaabbb"), "item_id": list("12xyz2"), "rating": [5.0, 5.0, 1.0, 1.0, 1.0, 5.0]}
    items = {"item_id": ["1", "2"], "title": ["A", "B"]}
    with pytest.raises(DataError, match=r"3 of 6 interactions \(50.0%, more than data.max_unknown_items=0.4\)"):
        described(rows, items, max_unknown_items=0.4)
    assert described(rows, items, max_unknown_items=0.4, min_rating=4).counts["items_unknown"] == 0


SOUND = {"user_id": [f"u{n}" for n in range(200)], "item_id": ["a", "b"] * 100, "timestamp": [1_500_000_000] * 200}
DESCRIBED = {"item_id": ["a", "b"], "title": ["A", "B"]}


def changed(column: str, values: list[Any]) -> dict[str, Any]:
    return SOUND | {column: values + SOUND[column][len(values) :]}


@pytest.mark.parametrize(
    ("rows", "items", "options", "sentence"),
    [
        (changed("user_id", ["nan"] * 3), DESCRIBED, {}, "3 of 200 (1.5%) rows of the interactions have no id"),
        (SOUND, {"item_id": ["a", "b", None], "title": list("ABC")}, {}, "1 of 3 (33.3%) rows of the items have no id"),
        (changed("item_id", ["x"] * 3), DESCRIBED, {}, "3 of 200 interactions (1.5%) have an item that the items lack"),
        (changed("timestamp", [-1]), DESCRIBED, {}, "1 timestamps such as -1 are no time from 1970 to 2100"),
        (
            changed("timestamp", [15e17] * 5),
            DESCRIBED,
            {},
            "5 of 200 (2.5%) timestamps are no time between 1970 and 2100",
        ),
        (changed("timestamp", [7] * 150), DESCRIBED, {}, "most timestamps lie before 1980"),
        (changed("user_id", ["u198"] * 12), DESCRIBED, {}, "11 of 200 (5.5%) interactions repeat a pair"),
        (
            SOUND,
            {"item_id": ["a", "b", "b"], "title": list("ABC")},
            {},
            "1 of 3 (33.3%) rows of the items repeat an id",
        ),
        (SOUND, {"item_id": ["a", "b"]}, {}, "2 of 2 (100.0%) items have no title"),
        (
            SOUND | {"rating": [1.0] * 150 + [5.0] * 50},
            DESCRIBED,
            {"min_rating": 4},
            "150 of 200 (75.0%) interactions are dropped by filters: 150 by data.min_rating;",
        ),
        (
            {"user_id": list("uuu"), "item_id": list("aab"), "split": ["train", "test", "train"]},
            DESCRIBED,
            {"split": {"strategy": "column"}},
            "1 pairs of user and item are in two splits",
        ),
    ],
)
def test_a_share_that_sound_data_does_not_have_is_said(
    rows: dict[str, Any], items: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    assert any(warning.startswith(sentence) for warning in described(rows, items, **options).warnings)


def test_sound_data_has_no_warning() -> None:
    assert described(SOUND, DESCRIBED).warnings == ()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "amazon-toys",
            {"split": {"strategy": "column"}},
            {"users": 19412, "items": 11924, "interactions": 167597, "train": 128773, "valid": 19412, "test": 19412},
        ),
        ("ml-100k", {}, {"users": 943, "items": 1682, "interactions": 100000, "pairs_repeated": 0}),
        ("yelp", {}, {"users": 30431, "items": 20033, "pairs_repeated": 11830}),
    ],
)
def test_real_data(
    real_data: Path, read_raw: Callable[..., RawData], name: str, options: dict[str, Any], expected: dict[str, int]
) -> None:
    raw = read_raw("table", path=str(real_data / name), **options)
    made = prepare_tables(raw, DataConfig.model_validate(options), 0)
    assert {key: made.counts[key] for key in expected} == expected
    assert made.items["title"].null_count == 0
