"""Addresses on this machine and in object stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.run.places import join, resolve, shown, storage_errors
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
        ("s3://key:secret@bucket", ("run",), "s3://key:secret@bucket/run"),
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
def test_what_arrow_says_of_an_address_comes_without_credentials(address: str) -> None:
    with pytest.raises(StoreError) as caught, storage_errors(address, "give another", StoreError):
        resolve(address)
    assert "bucket" in str(caught.value)
    assert "key" not in str(caught.value)
    assert "ret" not in str(caught.value)


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
