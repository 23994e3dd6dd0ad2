from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.config.load import load_config
from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.data.checks import check
from hnlm_ray.data.feedback import with_feedback
from hnlm_ray.data.preparation import Prepared, prepare_tables
from hnlm_ray.data.raw import RAW_ITEMS, from_columns
from hnlm_ray.run.execute import execute
from hnlm_ray.run.feedback import append_events, writable_folder
from hnlm_ray.run.plan import plan
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live
from hnlm_ray.tables import FEEDBACK
from tests.serving.conftest import ABOUT
from tests.serving.services import LocalClient, some_contents

FILES = {"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "timestamp": [10.0, 20.0, 30.0]}


def store(folder: Path, *rows: dict[str, Any]) -> None:
    full = [{"user_id": "a", "item_id": "x", "time": 40.0, "received": 40.0, **row} for row in rows]
    append_events(writable_folder(str(folder)), pa.Table.from_pylist(full, schema=FEEDBACK))


def prepared(folder: Path, interactions: dict[str, Any] | None = None, **options: Any) -> Prepared:
    given = {"format": "table", "path": "raw", "items": "", "feedback": str(folder), **options}
    config = DataConfig.model_validate({"split": {"valid": 0.0, "test": 0.0}, **given})
    raw = from_columns(pa.table(interactions or FILES), RAW_ITEMS.empty_table())
    return prepare_tables(with_feedback(raw, config), config, 0)


def pairs(made: Prepared) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Rating and time of each pair, by ids."""
    users, items = made.users["user_id"].to_pylist(), made.items["item_id"].to_pylist()
    rows = made.interactions.to_pylist()
    return {(users[row["user"]], items[row["item"]]): (row["rating"], row["timestamp"]) for row in rows}


def test_events_are_interactions_of_old_and_new_users_and_items(tmp_path: Path) -> None:
    store(tmp_path, {"user_id": "b", "item_id": "y", "rating": 4.0}, {"user_id": "new", "item_id": "z", "time": 41.0})
    made = prepared(tmp_path)
    assert pairs(made) == {
        ("a", "x"): (None, 10), ("a", "y"): (None, 20), ("b", "x"): (None, 30), ("b", "y"): (4.0, 40),
        ("new", "z"): (None, 41),
    }  # fmt: skip
    assert (made.counts["feedback_events"], made.counts["feedback_repeated"]) == (2, 0)


def test_of_events_with_one_id_the_first_that_came_counts(tmp_path: Path) -> None:
    store(tmp_path, {"id": "1", "item_id": "z", "time": 51.0, "received": 51.0})
    store(tmp_path, {"id": "1", "item_id": "z", "time": 50.0, "received": 50.0}, {"id": "2", "item_id": "q"})
    store(tmp_path, {"id": None, "item_id": "p", "time": 60.0}, {"id": None, "item_id": "p", "time": 61.0})
    made = prepared(tmp_path)
    assert (made.counts["feedback_events"], made.counts["feedback_repeated"]) == (5, 1)
    found = pairs(made)
    assert found["a", "z"] == (None, 50)
    assert found["a", "p"] == (None, 61)  # a pair counts once, its latest row
    assert made.counts["pairs_repeated"] == 1


def test_the_same_cleaning_and_the_same_filters(tmp_path: Path) -> None:
    store(tmp_path, {"user_id": " b ", "item_id": "z", "rating": 2.0}, {"user_id": "null"}, {"item_id": "q"})
    made = prepared(tmp_path, min_rating=3.0)
    assert made.counts["interactions_without_id"] == 1
    assert made.counts["dropped_by_min_rating"] == 1
    assert set(pairs(made)) == {("a", "x"), ("a", "y"), ("b", "x"), ("a", "q")}


def test_times_of_events_do_not_change_how_those_of_the_files_are_read(tmp_path: Path) -> None:
    store(tmp_path, {"item_id": "z", "time": 1_700_000_000.5})
    made = prepared(tmp_path, {**FILES, "timestamp": [20170714.0, 20170715.0, 20170716.0]})
    assert pairs(made)["b", "x"] == (None, 1_500_163_200)
    assert pairs(made)["a", "z"] == (None, 1_700_000_000)


def test_without_the_option_nothing_is_looked_at(tmp_path: Path) -> None:
    raw = from_columns(pa.table(FILES), RAW_ITEMS.empty_table())
    assert with_feedback(raw, DataConfig()) is raw


def test_a_folder_without_events_changes_nothing(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    assert made.interactions.num_rows == 3
    assert made.counts["feedback_events"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"feedback": "f"}, "goes with data of your own"),
        ({"feedback": "f", "format": "table", "path": "p", "split": {"strategy": "column"}}, "has no column split"),
        ({"feedback_until": "2026-01-01"}, "no effect without data.feedback"),
        ({"feedback": "s3://key:secret@bucket/f", "format": "table", "path": "p"}, "holds no key or password"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DataConfig.model_validate(options)


def write_files(folder: Path) -> None:
    folder.mkdir()
    rows = "".join(f"u{n % 7},i{n % 11},{1_600_000_000 + n}\n" for n in range(77))
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + rows)
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(11)))


def test_validation_tells_what_is_wrong_with_the_folder(tmp_path: Path) -> None:
    write_files(tmp_path / "raw")
    given = {"format": "table", "path": str(tmp_path / "raw"), "feedback": str(tmp_path / "events")}
    config = DataConfig.model_validate(given)
    (problem,) = check(config).problems
    assert "is no folder" in problem
    store(tmp_path / "events", {"user_id": "u1", "item_id": "i1"})
    assert check(config).problems == []
    (file,) = (tmp_path / "events").iterdir()
    file.write_bytes(b"PAR1")
    (problem,) = check(config).problems
    assert f"{file.name} is damaged" in problem


def test_what_a_client_sends_to_a_service_is_in_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNLM_TEST_TOKEN", "for-tests")
    write_files(tmp_path / "raw")
    write_bundle(str(tmp_path / "bundle"), some_contents(1), ABOUT)
    options = ServiceOptions(token_env="HNLM_TEST_TOKEN", feedback=str(tmp_path / "events"), feedback_wait_s=0.01)
    app = web_app(Live.of({"main": str(tmp_path / "bundle")}), options)
    event = {"user_id": "someone new", "item_id": "i3", "id": "e-1", "time": 1_700_000_000}
    with LocalClient(app, headers={"authorization": "Bearer for-tests"}) as client:
        for _ in range(2):  # as one that has not seen the first answer
            assert client.post("/v1/feedback", json={"events": [event]}).json() == {"stored": 1}

    options_of_run = ["data.format=table", f"data.path={tmp_path / 'raw'}", f"data.feedback={tmp_path / 'events'}"]
    config = load_config([], [*options_of_run, f"run={tmp_path / 'run'}"])
    run_plan = plan(config)
    execute(config, run_plan, only=["prepare"])
    output = run_plan["prepare"].artifact
    counts = output.manifest().counts
    assert (counts["users"], counts["interactions"], counts["feedback_events"], counts["feedback_repeated"]) == (
        8, 78, 2, 1,
    )  # fmt: skip
    users, items = output.read("users")["user_id"].to_pylist(), output.read("items")["item_id"].to_pylist()
    rows = [row for row in output.read("interactions").to_pylist() if users[row["user"]] == "someone new"]
    assert [(items[row["item"]], row["timestamp"]) for row in rows] == [("i3", 1_700_000_000)]
