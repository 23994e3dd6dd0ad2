from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.run.dependencies import raw_data
from hnlm_ray.run.feedback import append_events, event_files, read_events, writable_folder
from hnlm_ray.run.stage import StageKey
from hnlm_ray.tables import FEEDBACK


def events(*ids: str | None, user_id: str = "a") -> pa.Table:
    rows = [{"id": name, "user_id": user_id, "item_id": "x", "time": 5.0, "received": 6.0} for name in ids]
    return pa.Table.from_pylist(rows, schema=FEEDBACK)


def test_what_is_appended_is_read_in_the_order_of_the_names(tmp_path: Path) -> None:
    folder = writable_folder(str(tmp_path / "new" / "folder"))
    assert folder.files() == []  # the trial file is gone
    first = append_events(folder, events("1", "2"))
    second = append_events(folder, events("3"))
    names = event_files(str(tmp_path / "new" / "folder"))
    assert names == sorted([first, second])
    assert all(name.startswith(f"{datetime.now(UTC):%Y-%m-%d}") for name in names)
    table = read_events(folder.path, names)
    assert table.schema == FEEDBACK
    assert sorted(table["id"].to_pylist()) == ["1", "2", "3"]


def test_a_name_tells_the_content(tmp_path: Path) -> None:
    folder = writable_folder(str(tmp_path))
    digests = [append_events(folder, table)[-24:] for table in (events("1"), events("1"), events("2"))]
    assert digests[0] == digests[1] != digests[2]


def test_days_behind_the_last_one_are_passed_over(tmp_path: Path) -> None:
    folder = writable_folder(str(tmp_path))
    name = append_events(folder, events("1"))
    (tmp_path / name).rename(tmp_path / f"2026-03-05{name[10:]}")
    assert event_files(str(tmp_path), date(2026, 3, 4)) == []
    assert len(event_files(str(tmp_path), date(2026, 3, 5))) == 1


def test_a_folder_without_files_has_no_events(tmp_path: Path) -> None:
    (tmp_path / "_half.tmp").touch()
    assert event_files(str(tmp_path)) == []
    assert read_events(str(tmp_path), []).num_rows == 0


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_what_is_no_folder_is_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=rf"data\.feedback {tmp_path / place} is no folder; give the folder that"):
        event_files(str(tmp_path / place))


def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"holds notes\.txt, which no service has written there; move it away"):
        event_files(str(tmp_path))


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content[:30] + b"!" + content[31:]])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, damage: Any) -> None:
    name = append_events(writable_folder(str(tmp_path)), events("1"))
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(DataError, match=rf"{name} is damaged"):
        read_events(str(tmp_path), [name])


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        writable_folder(str(tmp_path / "file" / "below"))


def test_a_run_depends_on_the_content_and_not_on_the_place(tmp_path: Path) -> None:
    def depends(folder: Path, *options: str) -> Any:
        config = load_config([], ["data.format=table", f"data.path={tmp_path / 'raw'}", *options])
        return raw_data(config, StageKey("prepare"))

    (tmp_path / "raw").mkdir()
    without = depends(tmp_path)
    here, there = (f"data.feedback={tmp_path / name}" for name in ("here", "there"))
    folder = writable_folder(str(tmp_path / "here"))
    append_events(folder, events("1"))
    one = depends(tmp_path, here)
    assert one != without
    (tmp_path / "here").rename(tmp_path / "there")
    assert depends(tmp_path, there) == one
    assert depends(tmp_path, there, "data.feedback_until=2020-01-01") != one
    append_events(writable_folder(str(tmp_path / "there")), events("2"))
    assert depends(tmp_path, there) != one
    yesterday = "data.feedback_until=2020-01-01"
    assert depends(tmp_path, there, yesterday) == depends(tmp_path, there, yesterday)


def test_an_object_store_holds_feedback_as_a_folder_does(object_store: str) -> None:
    address = f"s3://bucket/feedback{object_store}"
    folder = writable_folder(address)
    name = append_events(folder, events("1", None))
    assert event_files(address) == [name]  # neither the trial file nor a temporary one
    assert read_events(address, [name])["id"].to_pylist() == ["1", None]
