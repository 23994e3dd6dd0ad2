"""A shelf of bundles: what is put there, which one is served, and what can be had."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from hnlm_ray.errors import BundleError, DataError
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.info import INFO, read_info
from hnlm_ray.serving.bundle.shelf import AVAILABILITY_FILE, Shelf, current_bundle
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.recommend.live import Live
from tests.serving.conftest import ABOUT
from tests.serving.services import break_off_copies, some_contents, stocked_shelf, write_rich_bundle

NO_VERSIONS = [
    "../x",
    "..",
    "",
    "current",
    "A" * 12,
    "a" * 11,
    "a" * 13,
    "a" * 12 + "\n",
    "a/b",
    "a" * 5000,
    "日本",
    "\x00",
]


@pytest.fixture
def stocked(tmp_path: Path) -> tuple[Shelf, list[str]]:
    return stocked_shelf(tmp_path)


@pytest.fixture
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three bundles that are on no shelf yet."""
    folder = tmp_path_factory.mktemp("sources")
    for seed in (1, 2, 3):
        write_bundle(str(folder / str(seed)), some_contents(seed), ABOUT)
    return [str(folder / str(seed)) for seed in (1, 2, 3)]


def write_availability(shelf: Shelf, **columns: Any) -> None:
    pq.write_table(pa.table(columns), f"{shelf.path}/{AVAILABILITY_FILE}")


# Bundles


def test_a_bundle_is_copied_as_a_whole_and_is_not_served_yet(sources: list[str], tmp_path: Path) -> None:
    shelf = Shelf(str(tmp_path / "new" / "shelf"))
    info = shelf.add(sources[0])
    assert load_bundle(shelf.path_of(info.version)).info == info == read_info(sources[0])
    assert [(one.version, one.info, one.is_current) for one in shelf.bundles()] == [(info.version, info, False)]
    assert not shelf.has_pointer
    with pytest.raises(BundleError, match="current"):
        shelf.current()


def test_a_bundle_with_folders_in_it_is_copied_too(tmp_path: Path) -> None:
    write_rich_bundle(tmp_path / "rich")
    shelf = Shelf(str(tmp_path / "shelf"))
    version = shelf.add(str(tmp_path / "rich")).version
    assert "encoder/config.json" in load_bundle(shelf.path_of(version)).info.files


def test_a_bundle_that_is_there_is_left_as_it_is(stocked: tuple[Shelf, list[str]], tmp_path: Path) -> None:
    shelf, versions = stocked
    folder = Path(shelf.path_of(versions[1]))
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert shelf.add(str(tmp_path / "from-2")).version == versions[1]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_damaged_bundle_is_not_put_on_a_shelf(sources: list[str], tmp_path: Path) -> None:
    shelf = Shelf(str(tmp_path / "shelf"))
    Path(sources[0], "items.parquet").write_bytes(b"")
    with pytest.raises(BundleError, match=r"items\.parquet is damaged"):
        shelf.add(sources[0])
    with pytest.raises(BundleError, match=r"bundle\.json"):
        shelf.add(str(tmp_path / "nowhere"))
    assert shelf.bundles() == []


def test_a_copy_that_breaks_off_is_no_bundle_and_can_be_made_again(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(str(tmp_path / "shelf"))
    with monkeypatch.context() as patch:
        break_off_copies(patch)
        with pytest.raises(BundleError, match="No space left"):
            shelf.add(sources[0])
    version = read_info(sources[0]).version
    half = shelf.bundles()
    assert [(one.version, one.info) for one in half] == [(version, None)]
    assert INFO in half[0].problem
    with pytest.raises(BundleError, match=f"has no bundle '{version}'"):
        shelf.use(version)
    assert shelf.add(sources[0]).version == version
    shelf.use(version)
    assert load_bundle(current_bundle(shelf.path)).info.version == version


def test_what_is_no_bundle_is_not_listed(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, versions = stocked
    for name in ("notes", "abcdef", "ABCDEFABCDEF"):
        Path(shelf.path, name).mkdir()
    Path(shelf.path, "a" * 12).write_text("a file")
    Path(shelf.path, "README").write_text("hello")
    assert [one.version for one in shelf.bundles()] == sorted(versions)
    assert [one.version for one in shelf.bundles() if one.is_current] == [versions[0]]


def test_a_bundle_that_cannot_be_read_is_listed_with_the_reason(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, versions = stocked
    Path(shelf.path_of(versions[1]), INFO).write_text("{")
    damaged = next(one for one in shelf.bundles() if one.version == versions[1])
    assert damaged.info is None
    assert "cannot be understood" in damaged.problem
    with pytest.raises(BundleError, match="cannot be understood"):
        shelf.use(versions[1])
    assert shelf.current() == versions[0]


@pytest.mark.parametrize("version", NO_VERSIONS, ids=lambda value: ascii(value)[:20])
def test_a_name_that_is_no_version_is_refused_wherever_it_leads(
    stocked: tuple[Shelf, list[str]], tmp_path: Path, version: str
) -> None:
    shelf, versions = stocked
    shutil.copytree(tmp_path / "from-2", tmp_path / "x")  # so that ../x leads to a bundle
    for act in (shelf.use, shelf.drop, shelf.path_of):
        with pytest.raises(BundleError) as caught:
            act(version)
        assert len(str(caught.value)) < 400 + len(shelf.path) * 2
    assert shelf.current() == versions[0]
    assert (tmp_path / "x" / INFO).is_file()


def test_a_folder_that_holds_another_version_is_not_used(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, versions = stocked
    shutil.copytree(shelf.path_of(versions[1]), Path(shelf.path, "a" * 12))
    with pytest.raises(BundleError, match=f"holds the bundle {versions[1]}"):
        shelf.use("a" * 12)


# The pointer


def test_the_pointer_goes_forward_and_back(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, (one, two, three) = stocked
    shelf.use(two)
    shelf.use(three)
    shelf.use(three)
    assert shelf.current() == three
    assert (shelf.back(), shelf.current()) == (two, two)
    assert (shelf.back(), shelf.current()) == (one, one)
    with pytest.raises(BundleError, match=f"no bundle that was served before {one}"):
        shelf.back()
    assert shelf.current() == one


def test_a_version_that_comes_again_stands_once_in_what_was_before(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, (one, two, _) = stocked
    for version in (two, one, two, one):
        shelf.use(version)
    assert json.loads(Path(shelf.path, "current").read_text()) == {"version": one, "before": [two]}


def test_the_way_back_passes_over_bundles_that_were_dropped(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, (one, two, three) = stocked
    shelf.use(two)
    shelf.use(three)
    shelf.drop(two)
    assert (shelf.back(), shelf.current()) == (one, one)
    shelf.use(three)
    shutil.rmtree(shelf.path_of(one))  # by hand
    with pytest.raises(BundleError, match=f"no bundle that was served before {three}"):
        shelf.back()
    assert shelf.current() == three


def test_a_bundle_that_is_served_is_not_dropped(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, (one, two, three) = stocked
    with pytest.raises(BundleError, match="is being served"):
        shelf.drop(one)
    shelf.drop(two)
    assert [version.version for version in shelf.bundles()] == sorted([one, three])
    assert not Path(shelf.path, two).exists()
    with pytest.raises(BundleError, match="has no bundle"):
        shelf.drop(two)


DAMAGED = [
    b"", b"{", b"null", b"[]", b"7", b"{}", b'{"version": "aaaaaaaaaaaa"}', b'{"version": 7, "before": []}',
    b'{"version": null, "before": []}', b'{"version": "../../x", "before": []}', b"\xff\xfe",
    b'{"version": "aaaaaaaaaaaa", "before": ["../x"]}', b'{"version": "aaaaaaaaaaaa", "before": 7}',
    b'{"version": "aaaaaaaaaaaa", "before": "bb"}',
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=ascii)
def test_a_damaged_pointer_is_one_sentence_and_can_be_replaced(
    stocked: tuple[Shelf, list[str]], content: bytes
) -> None:
    shelf, versions = stocked
    Path(shelf.path, "current").write_bytes(content)
    for act in (shelf.current, shelf.back, lambda: current_bundle(shelf.path), lambda: shelf.drop(versions[1])):
        with pytest.raises(BundleError, match=r"current cannot be understood; choose a version") as caught:
            act()
        assert "\n" not in str(caught.value)
    assert [(one.version, one.is_current) for one in shelf.bundles()] == [(one, False) for one in sorted(versions)]
    shelf.use(versions[1])
    assert shelf.current() == versions[1]


def test_a_reader_never_sees_a_broken_pointer(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, versions = stocked
    done, seen, problems = threading.Event(), set[str](), list[Exception]()

    def read() -> None:
        reader = Shelf(shelf.path)
        while not done.is_set():
            try:
                seen.add(reader.current())
            except Exception as error:  # a reader that dies would see nothing broken any more
                problems.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for flip in range(200):
        shelf.use(versions[flip % 3])
    done.set()
    thread.join()
    assert problems == []
    assert seen <= set(versions)
    assert len(seen) > 1
    assert sorted(path.name for path in Path(shelf.path).iterdir()) == sorted([*versions, "current"])


def test_writers_do_not_harm_each_other(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, versions = stocked
    problems: list[Exception] = []

    def write(version: str) -> None:
        try:
            for _ in range(50):
                shelf.use(version)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert shelf.current() in versions


def test_what_was_before_is_not_remembered_for_ever(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, (one, two, _) = stocked
    pointer = {"version": one, "before": [f"{number:012x}" for number in range(1000)]}
    Path(shelf.path, "current").write_text(json.dumps(pointer))
    shelf.use(two)
    before = json.loads(Path(shelf.path, "current").read_text())["before"]
    assert before == [one, *pointer["before"][:19]]


def test_a_path_is_a_bundle_or_what_its_shelf_points_to(stocked: tuple[Shelf, list[str]], sources: list[str]) -> None:
    shelf, versions = stocked
    assert current_bundle(sources[0]) == sources[0]
    assert current_bundle(f"{shelf.path}/") == f"{shelf.path}/{versions[0]}"


def test_messages_name_a_shelf_in_an_object_store_without_its_options(object_store: str) -> None:
    shelf = Shelf(f"s3://hnlm/keyed/{object_store}")
    for act in (shelf.current, shelf.back, lambda: shelf.use("a" * 12), lambda: shelf.drop("a" * 12)):
        with pytest.raises(BundleError, match="hnlm/keyed") as caught:
            act()
        assert object_store not in str(caught.value)  # its options, which an address that leads there has
    assert shelf.path_of("a" * 12).endswith(object_store)
    with pytest.raises(BundleError, match="there is a key or a password in the address s3://hnlm/keyed") as caught:
        Shelf(f"s3://key:secret@hnlm/keyed/{object_store}")
    assert "secret@" not in str(caught.value)


def test_a_place_that_cannot_be_a_shelf_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere://bucket"):
        Shelf("nowhere://bucket/shelf")
    (tmp_path / "file").write_text("")
    write_bundle(str(tmp_path / "bundle"), some_contents(1), ABOUT)
    with pytest.raises(BundleError) as caught:
        Shelf(str(tmp_path / "file")).add(str(tmp_path / "bundle"))
    assert "\n" not in str(caught.value)


# What can be had


def test_what_cannot_be_had_is_read(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, _ = stocked
    assert shelf.unavailable() == (None, [])
    assert shelf.availability_mark() is None
    write_availability(
        shelf, item_id=["i1", "i2", "i3", "none"], available=[False, True, None, False], more=[1, 2, 3, 4]
    )
    mark, gone = shelf.unavailable()
    assert gone == ["i1", "none"]
    assert mark == shelf.availability_mark() is not None
    write_availability(shelf, item_id=["i1"], available=[True])
    assert shelf.availability_mark() != mark
    assert shelf.unavailable()[1] == []


def test_availability_lies_beside_the_bundles_and_is_none(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, versions = stocked
    write_availability(shelf, item_id=["i1"], available=[False])
    assert [one.version for one in shelf.bundles()] == sorted(versions)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"item_id": ["i1"]}, r"lacks the column 'available', it has 'item_id'"),
        ({"available": [True]}, r"lacks the column 'item_id'"),
        ({"item_id": [[1]], "available": [True]}, r"column 'item_id' is list"),
        ({"item_id": ["i1"], "available": ["perhaps"]}, r"column 'available' is string"),
    ],
)
def test_a_wrong_column_is_named(stocked: tuple[Shelf, list[str]], columns: dict[str, Any], words: str) -> None:
    shelf, _ = stocked
    write_availability(shelf, **columns)
    with pytest.raises(DataError, match=words) as caught:
        shelf.unavailable()
    assert AVAILABILITY_FILE in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all, but long enough to be one"], ids=ascii)
def test_an_unreadable_file_is_one_sentence(stocked: tuple[Shelf, list[str]], content: bytes) -> None:
    shelf, _ = stocked
    Path(shelf.path, AVAILABILITY_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=AVAILABILITY_FILE) as caught:
        shelf.unavailable()
    assert "\n" not in str(caught.value)
    assert shelf.availability_mark() is not None


# In an object store


@pytest.mark.parametrize("end", ["", "/"])
def test_a_shelf_in_an_object_store_does_the_same(
    object_store: str, sources: list[str], end: str, tmp_path: Path
) -> None:
    name = f"shelf{len(end)}"
    filesystem, _ = pafs.FileSystem.from_uri(f"s3://hnlm/{name}{object_store}")
    filesystem.create_dir("hnlm")
    shelf = Shelf(f"s3://hnlm/{name}{end}{object_store}")
    assert not shelf.has_pointer
    assert shelf.bundles() == []
    one, two = (shelf.add(source).version for source in sources[:2])
    assert shelf.add(sources[0]).version == one
    shelf.use(one)
    shelf.use(two)
    assert [(each.version, each.is_current) for each in shelf.bundles()] == sorted([(one, False), (two, True)])
    loaded = load_bundle(current_bundle(shelf.path))
    assert loaded.info.version == two
    np.testing.assert_array_equal(loaded.contents.item_vectors, load_bundle(sources[1]).contents.item_vectors)
    live = Live.of({"shop": shelf.path})
    assert shelf.back() == one
    live.refresh()
    assert [(served.version, served.recommender.info.version) for served in live] == [(one, one)]
    assert Shelf(str(tmp_path / "copy")).add(shelf.path_of(two)).version == two
    shelf.drop(two)
    assert [each.version for each in shelf.bundles()] == [one]
    assert shelf.unavailable() == (None, [])
    pq.write_table(
        pa.table({"item_id": ["i1"], "available": [False]}), f"hnlm/{name}/{AVAILABILITY_FILE}", filesystem=filesystem
    )
    mark, gone = shelf.unavailable()
    assert (mark, gone) == (shelf.availability_mark(), ["i1"])
    with filesystem.open_output_stream(f"hnlm/{name}/current") as stream:
        stream.write(b"{")
    with pytest.raises(BundleError, match="cannot be understood"):
        shelf.current()
