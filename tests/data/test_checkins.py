from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]


def test_checkins_have_users_places_and_times(tmp_path: Path, read_raw: Read) -> None:
    lines = ["0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847", "1\t1970-01-02T00:00:01Z\t0\t0\t7"]
    (tmp_path / "loc-gowalla_totalCheckins.txt").write_text("\n".join(lines) + "\n")
    raw = read_raw("checkins", items="")
    assert raw.interactions["user_id"].to_pylist() == ["0", "1"]
    assert raw.interactions["item_id"].to_pylist() == ["22847", "7"]
    assert raw.interactions["moment"].to_pylist() == [1_287_532_527, 86_401]
    assert raw.interactions["rating"].null_count == 2


def test_a_line_that_is_no_checkin_is_malformed(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "loc-brightkite_totalCheckins.txt").write_text("0\t2010-10-19T23:55:27Z\t1\t2\t3\n0\t\n")
    with pytest.raises(DataError, match=r"totalCheckins\.txt:2: "):
        read_raw("checkins", items="")


def test_checkins_have_no_file_of_items(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "loc-gowalla_totalCheckins.txt").write_text("0\t2010-10-19T23:55:27Z\t1\t2\t3\n")
    (tmp_path / "places.txt").write_text("3\n")
    with pytest.raises(DataError, match=r'check-ins have none; set data\.items=""'):
        read_raw("checkins", items="places.txt")
    with pytest.raises(DataError, match=r"data\.items"):
        read_raw("checkins")
