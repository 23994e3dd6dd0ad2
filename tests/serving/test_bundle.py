from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest

from hnlm_ray.errors import BundleError
from hnlm_ray.serving import bundle as bundle_module
from hnlm_ray.serving.bundle import FILES, INFO, load_bundle, write_bundle
from hnlm_ray.serving.contents import Contents

from .conftest import ABOUT


@pytest.fixture
def copy(bundle_path: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(bundle_path, tmp_path / "copy"))


def test_what_is_written_is_read(bundle_path: Path, contents: Contents) -> None:
    bundle = load_bundle(str(bundle_path))
    for field in ("user_vectors", "item_vectors", "seen_offsets", "seen_items", "popularity"):
        np.testing.assert_array_equal(getattr(bundle.contents, field), getattr(contents, field))
    assert bundle.contents.users.equals(contents.users)
    assert bundle.contents.items.equals(contents.items)
    assert (bundle.info.users, bundle.info.items, bundle.info.dim) == (40, 60, 4)
    assert bundle.info.about == ABOUT
    assert sorted(os.listdir(bundle_path)) == sorted([*FILES, INFO])


def test_the_version_follows_the_content(contents: Contents, tmp_path: Path) -> None:
    first = write_bundle(str(tmp_path / "a"), contents, ABOUT)
    again = write_bundle(str(tmp_path / "b"), contents, ABOUT)
    other = write_bundle(str(tmp_path / "c"), contents, ABOUT.model_copy(update={"seed": 4}))
    assert first.version == again.version
    assert first.version != other.version
    assert first.files == other.files


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_noticed_and_the_file_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} is damaged: its checksum"):
        load_bundle(str(copy))


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_noticed_and_named(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    with pytest.raises(BundleError, match=rf"{name} is damaged: it has \d+ bytes"):
        load_bundle(str(copy))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing"):
        load_bundle(str(copy))


def test_an_edited_bundle_json_is_noticed(copy: Path) -> None:
    info = json.loads((copy / INFO).read_text())
    info["about"]["metrics"]["test ndcg@20"] = 0.99
    (copy / INFO).write_text(json.dumps(info))
    with pytest.raises(BundleError, match=r"bundle\.json is damaged: its version"):
        load_bundle(str(copy))


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "cannot be understood"), ("{", "cannot be understood"), ('{"format": 2}', "cannot be understood")],
)
def test_an_unreadable_bundle_json_is_one_sentence(copy: Path, content: str, words: str) -> None:
    (copy / INFO).write_text(content)
    with pytest.raises(BundleError, match=words) as caught:
        load_bundle(str(copy))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_bundle_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(str(tmp_path))


def test_an_unknown_kind_of_place_is_one_sentence() -> None:
    with pytest.raises(BundleError, match="nowhere://bucket"):
        load_bundle("nowhere://bucket/bundle")


def test_a_writer_that_dies_leaves_no_bundle(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    copy_files = pafs.copy_files

    def dies_at_the_third(source: str, target: str, *filesystems: pafs.FileSystem) -> None:
        if len(copied) == 2:
            raise OSError("No space left on device")
        copied.append(target)
        copy_files(source, target, *filesystems)

    monkeypatch.setattr(bundle_module.pafs, "copy_files", dies_at_the_third)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(str(tmp_path / "b"), contents, ABOUT)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(str(tmp_path / "b"))


def test_a_remote_bundle_is_fetched_and_checked(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    monkeypatch.setattr(bundle_module, "_resolve", lambda path: (remote, path.removeprefix("s3://")))
    written = write_bundle("s3://far/bundle", contents, ABOUT)
    loaded = load_bundle("s3://far/bundle")
    assert loaded.info == written
    np.testing.assert_array_equal(loaded.contents.item_vectors, contents.item_vectors)
    (tmp_path / "far" / "bundle" / "users.parquet").unlink()
    with pytest.raises(BundleError, match=r"far/bundle/users\.parquet is missing"):
        load_bundle("s3://far/bundle")
