"""Addresses on this machine and in object stores."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.run.places import Folder, join, resolve, shown, storage_errors
from hnlm_ray.run.store import RunStore


@pytest.mark.parametrize(
    ("address", "parts", "expected"),
    [
        ("runs/mine", ("prepare", "ab12"), "runs/mine/prepare/ab12"),
        ("runs/mine/", ("prepare",), "runs/mine/prepare"),
        ("/", ("runs",), "/runs"),
        ("odd?name", ("prepare",), "odd?name/prepare"),
        ("s3://bucket/run", ("bundle", "ab12"), "s3://bucket/run/bundle/ab12"),
        ("s3://bucket/run/", ("bundle",), "s3://bucket/run/bundle"),
        ("s3://bucket/run?region=x&scheme=http", ("bundle",), "s3://bucket/run/bundle?region=x&scheme=http"),
        ("s3://bucket/run/?region=x", ("encoder/1_Pooling",), "s3://bucket/run/encoder/1_Pooling?region=x"),
        ("file:///", ("runs",), "file:///runs"),
    ],
)
def test_parts_are_joined_before_the_query(address: str, parts: tuple[str, ...], expected: str) -> None:
    assert join(address, *parts) == expected


@pytest.mark.parametrize("name", ["a b", "50%", "what?", "ä#1"])
@pytest.mark.parametrize("root", ["/tmp/run", "file:///tmp/run"])
def test_a_joined_name_is_found_again_whatever_it_holds(root: str, name: str) -> None:
    assert resolve(join(root, name))[1] == f"/tmp/run/{name}"


def test_messages_name_an_address_without_its_credentials_and_query() -> None:
    assert shown("s3://key:secret@bucket/run?endpoint_override=host") == "s3://bucket/run"
    assert shown("s3://bucket/mail@home") == "s3://bucket/mail@home"
    assert shown("runs/what?") == "runs/what?"


@pytest.mark.parametrize("address", ["nowhere://key:secret@bucket/run", "s3://key:sec/ret@bucket/a b?region=x"])
def test_an_address_with_a_key_in_it_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY") as caught:
        resolve(address)
    assert "bucket" in str(caught.value)
    assert "key:" not in str(caught.value)
    assert "ret@" not in str(caught.value)


def test_what_arrow_says_comes_without_credentials() -> None:
    with pytest.raises(StoreError) as caught, storage_errors("s3://bucket"):
        raise OSError("no host in s3://key:sec/ret@bucket/run")
    assert "s3://bucket/run" in str(caught.value)
    assert "ret@" not in str(caught.value)


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, synced = Folder(pafs.LocalFileSystem(), str(tmp_path)), []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(os.readlink(f"/proc/self/fd/{number}")).name))
    with folder.replacing("table") as temporary:
        Path(temporary).touch()
        assert not synced
    assert [name.startswith("_table.") for name in synced] == [True, False]
    assert synced[1] == tmp_path.name  # that the name is there


@pytest.mark.parametrize("address", ["foo://bucket/x", "s3:///x"])
def test_an_address_without_a_file_system_is_one_sentence(address: str) -> None:
    with pytest.raises(DataError, match=r"is no place that can be reached .*; give a path, or an address"):
        resolve(address, DataError)


def test_a_tilde_is_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/runs/mine")[1] == f"{tmp_path}/runs/mine"
    assert RunStore("~/runs/mine").address == f"{tmp_path}/runs/mine"


def test_an_artifact_is_opened_by_the_address_of_its_run() -> None:
    store = RunStore("s3://bucket/run?scheme=http&endpoint_override=127.0.0.1:1&region=us-east-1")
    address = store.artifact("bundle.hnlm", "abc").address
    assert address == "s3://bucket/run/bundle.hnlm/abc?scheme=http&endpoint_override=127.0.0.1:1&region=us-east-1"
