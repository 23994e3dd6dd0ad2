from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]


def lastfm(folder: Path, plays: str, artists: str) -> None:
    (folder / "user_artists.dat").write_text(f"userID\tartistID\tweight\r\n{plays}")
    (folder / "artists.dat").write_text(f"id\tname\turl\tpictureURL\n{artists}")


def test_lastfm_has_plays_and_names_with_quotes(tmp_path: Path, read_raw: Read) -> None:
    lastfm(
        tmp_path, "2\t51\t13883\r\n2\t52\t1\r\n", '51\t"Weird Al" Yankovic\thttp://a\thttp://b\n52\tAir\thttp://a\t\n'
    )
    raw = read_raw("lastfm")
    assert raw.interactions["rating"].to_pylist() == [13883.0, 1.0]
    assert raw.items["title"].to_pylist() == ['"Weird Al" Yankovic', "Air"]


def test_a_missing_column_of_lastfm_is_named(tmp_path: Path, read_raw: Read) -> None:
    lastfm(tmp_path, "2\t51\t1\n", "51\tAir\ta\tb\n")
    (tmp_path / "artists.dat").write_text("id\turl\n51\ta\n")
    with pytest.raises(DataError, match=r"artists\.dat lacks the column 'name'; give the files of HetRec 2011"):
        read_raw("lastfm")
