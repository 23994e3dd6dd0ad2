"""A manifest is trusted as a whole or not at all."""

from __future__ import annotations

import json

import pytest

from hnlm_ray import __version__
from hnlm_ray.run.manifest import Manifest, StageFile

GOOD = Manifest(
    stage="prepare", fingerprint="abc", committed=1.5, counts={"ok": 2, "share": 0.25}, rows={"users": 2},
    files={"users.parquet": StageFile(bytes=10, sha256="0" * 64, rows=2)},
)  # fmt: skip


def test_what_is_written_is_read() -> None:
    assert Manifest.from_json(GOOD.to_json()) == GOOD
    assert not GOOD.misfit("prepare", "abc")


@pytest.mark.parametrize(
    ("field", "value"),
    [("rows", {"users": 3}), ("stage", "train"), ("fingerprint", "abd"), ("version", "9.9.9"), ("files", {})],
)
def test_a_changed_field_is_noticed(field: str, value: object) -> None:
    changed = {**json.loads(GOOD.to_json()), field: value}
    with pytest.raises(ValueError, match="digest does not match"):
        Manifest.from_json(json.dumps(changed).encode())


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"7", b'"text"', b"{}", b"\xff\xfe", b"[" * 100_000, b'{"stage": 1}', b"9" * 5_000],
)
def test_what_is_no_manifest_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Manifest.from_json(content)


def test_every_flipped_bit_is_noticed_or_means_nothing() -> None:
    content = GOOD.to_json()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            try:
                found = Manifest.from_json(bytes(flipped))
            except ValueError:
                continue
            assert found == GOOD, (place, bit)  # white space


def test_the_manifest_of_another_folder_or_release_does_not_fit() -> None:
    assert GOOD.misfit("prepare", "abd") == "it is that of prepare/abc"
    assert GOOD.misfit("train.dns.s0", "abc") == "it is that of prepare/abc"
    assert GOOD.model_copy(update={"version": "9.1.0"}).misfit("prepare", "abc") == (
        f"hnlm_ray 9.1.0 wrote it, and this is {__version__}"
    )
    patch = ".".join([*__version__.split(".")[:2], "99"])
    assert not GOOD.model_copy(update={"version": patch}).misfit("prepare", "abc")
