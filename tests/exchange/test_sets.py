"""Every data set of the list, from a server to prepared tables, and the list itself."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.compute as pc
import pytest

from hnlm_ray.config.load import load_config, shipped_configs
from hnlm_ray.data.checks import check
from hnlm_ray.data.preparation import prepare_tables
from hnlm_ray.errors import ConfigError
from hnlm_ray.exchange.obtain import MIRROR, obtain
from hnlm_ray.exchange.sets import FAMILIES, SETS, DataSet, data_set
from tests.data.conftest import read_serially
from tests.exchange.file_server import FileServer
from tests.exchange.made_up import MADE, N_ITEMS

EVERY = [*SETS.values(), *(family.of(category) for family in FAMILIES.values() for category in family.categories)]


def with_digests_of(chosen: DataSet, made: dict[str, bytes]) -> DataSet:
    """The data set, as if its known digests were those of made-up files."""
    files = (
        dataclasses.replace(file, digest=file.digest and f"sha256:{hashlib.sha256(made[file.name]).hexdigest()}")
        for file in chosen.files
    )
    return dataclasses.replace(chosen, files=tuple(files))


def test_there_are_made_up_files_of_each() -> None:
    assert {name.partition("/")[0] for name in MADE} == {*SETS, *FAMILIES}


@pytest.mark.parametrize("name", MADE)
def test_from_a_server_to_prepared_tables(
    name: str, files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MADE[name]()
    files.files = {f"/{name}/{file}": content for file, content in made.items()}
    monkeypatch.setenv(MIRROR, f"{files.address}/")
    chosen = with_digests_of(data_set(name), made)
    lock = obtain(chosen, tmp_path / "here", say=lambda line: None)
    assert {file for file, locked in lock.files.items() if locked.source.startswith("http")} == {*made}
    config = load_config([Path(chosen.config)], [f"data.path={tmp_path / 'here'}"])
    assert check(config.data, config.seed).problems == []
    raw = read_serially(config.data)
    assert "interaction_lines_malformed" not in raw.counts or not raw.counts["interaction_lines_malformed"]
    assert not raw.counts.get("item_lines_malformed")
    prepared = prepare_tables(raw, config.data, config.seed)
    assert prepared.items.num_rows == N_ITEMS
    assert {*prepared.interactions["split"].unique().to_pylist()} == {"train", "valid", "test"}
    if name != "gowalla":
        assert not pc.any(pc.equal(prepared.items["title"], prepared.items["item_id"])).as_py()


@pytest.mark.parametrize("chosen", EVERY, ids=lambda one: one.name)
def test_an_entry_is_complete(chosen: DataSet) -> None:
    assert data_set(chosen.name) == chosen
    assert chosen.config in shipped_configs()
    for address in (chosen.link, *(address for file in chosen.files for address in file.addresses)):
        parts = urlsplit(address)
        assert parts.scheme in ("http", "https")
        assert parts.netloc
        assert "{" not in address
    for file in chosen.files:
        assert all(address.rpartition("/")[2] == file.name for address in file.addresses)
        kind, _, digits = (file.digest or ":").partition(":")
        assert len(digits) == {"": 0, "md5": 32, "sha256": 64}[kind]
        # Over a connection that anybody can change, a first download is only trusted where there is no other way.
        assert file.digest or chosen.name == "bookcrossing" or all(a.startswith("https:") for a in file.addresses)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ml-1", r"there is no data set 'ml-1'; give ml-1m"),
        ("nothing-like-it", "`hnlm data list` names those that there are"),
        ("amazon2023/Toys_Games", "no category 'Toys_Games' of amazon2023; give amazon2023/Toys_and_Games"),
        ("amazon2018", "has one data set per category; `hnlm data list amazon2018`"),
    ],
)
def test_another_name_is_answered_with_the_nearest(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        data_set(name)
