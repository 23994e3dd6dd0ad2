from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]


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
