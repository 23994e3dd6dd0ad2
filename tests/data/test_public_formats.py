"""The readers of check-ins, Last.fm and Steam, on the oddities of these files."""

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


def test_steam_reads_literals_of_the_second_python(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "steam_reviews.json").write_text(
        "{u'username': u'Chaos', u'hours': 0.1, u'product_id': u'725280', u'date': u'2017-12-17', u'text': u'It\\'s'}\n"
        "{u'username': u\"O'Neil\", u'product_id': u'725281', u'date': u'2017-12-18', u'early_access': False}\n"
    )
    (tmp_path / "steam_games.json").write_text(
        "{u'genres': [u'Action', u'Indie'], u'title': u'Kitty', u'id': u'725280', u'developer': u'K'}\n"
        "{u'app_name': u'Only \\u2665', u'tags': [u'Fun'], u'id': u'725281'}\n"
    )
    raw = read_raw("steam")
    assert raw.interactions["user_id"].to_pylist() == ["Chaos", "O'Neil"]
    assert raw.interactions["review"].to_pylist()[0] == "It's"
    assert raw.items["title"].to_pylist() == ["Kitty", "Only ♥"]
    assert raw.items["categories"].to_pylist() == [["Action", "Indie"], ["Fun"]]
    assert raw.items["brand"].to_pylist() == ["K", None]


def test_code_in_a_literal_is_not_run(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "steam_reviews.json").write_text("{u'username': __import__('os').getcwd(), u'product_id': u'1'}\n")
    (tmp_path / "steam_games.json").write_text("{u'id': u'1'}\n")
    with pytest.raises(DataError, match=r"steam_reviews\.json:1: neither a JSON object nor a Python literal"):
        read_raw("steam")
