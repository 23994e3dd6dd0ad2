from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from hnlm_ray.errors import BundleError, DataError
from hnlm_ray.serving.bundle import bundle as bundle_module
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.cold_start import fit_profile_map, fit_text_map
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import FILES, INFO, BundleInfo, read_info
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from tests.run.test_tensors import owner
from tests.serving.conftest import ABOUT, ENCODER
from tests.serving.services import break_off_copies

ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
RICH_FILES = (
    *FILES,
    *(f"{name}.parquet" for name in ("user_profiles", "item_profiles", "negatives")),
    "item_texts.safetensors",
    "text.safetensors",
    *(f"encoder/{name}" for name in ENCODER_FILES),
)


@pytest.fixture
def copy(rich_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the rich bundle that a test may damage."""
    return Path(shutil.copytree(rich_bundle, tmp_path / "copy"))


def sign_again(folder: Path, change: Callable[[dict[str, object]], None] = lambda files: None) -> None:
    """Write checksums and a version that fit what the folder holds now, as whoever means harm would."""
    info = BundleInfo.model_validate_json((folder / INFO).read_bytes())
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in ((name, (folder / name).read_bytes()) for name in info.files)
    }
    change(files)
    draft = BundleInfo.model_validate({**info.model_dump(), "files": files})
    (folder / INFO).write_text(draft.model_copy(update={"version": draft.content_version()}).model_dump_json())


def test_what_is_written_is_read(bundle_path: Path, contents: Contents) -> None:
    bundle = load_bundle(str(bundle_path))
    for field in ("user_vectors", "item_vectors", "seen_offsets", "seen_items", "popularity"):
        np.testing.assert_array_equal(getattr(bundle.contents, field), getattr(contents, field))
    assert bundle.contents.users.equals(contents.users)
    assert bundle.contents.items.equals(contents.items)
    assert (bundle.info.users, bundle.info.items, bundle.info.dim) == (40, 60, 4)
    assert bundle.info.about == ABOUT
    assert sorted(os.listdir(bundle_path)) == sorted([*FILES, INFO])
    assert (bundle.encoder, bundle.projection, bundle.text_table("negatives")) == (None, None, None)


def test_what_is_written_is_read_with_all_extras(
    rich_bundle: Path, rich_contents: Contents, rich_extras: Extras
) -> None:
    bundle = load_bundle(str(rich_bundle))
    assert sorted(bundle.info.files) == sorted(RICH_FILES)
    for field in ("user_vectors", "item_vectors", "seen_offsets", "seen_items", "popularity"):
        np.testing.assert_array_equal(getattr(bundle.contents, field), getattr(rich_contents, field))
    assert bundle.contents.items.equals(rich_contents.items)
    for name in ("user_profiles", "item_profiles", "negatives"):
        path = bundle.text_table(name)
        assert path is not None
        assert pq.read_table(path).equals(getattr(rich_extras, name))
    assert rich_extras.text_vectors is not None
    expected = fit_text_map(rich_extras.text_vectors, rich_contents.item_vectors, rich_contents.popularity)
    np.testing.assert_array_equal(bundle.projection, expected)
    assert bundle.item_texts is not None
    assert bundle.item_texts.dtype == np.float16
    np.testing.assert_allclose(bundle.item_texts, rich_extras.text_vectors, atol=1e-3)
    assert bundle.encoder is not None
    for name in ENCODER_FILES:
        assert (Path(bundle.encoder) / name).read_bytes() == (Path(ENCODER) / name).read_bytes()


def test_arrays_are_mapped_from_the_files_and_cannot_be_written(rich_bundle: Path) -> None:
    bundle = load_bundle(str(rich_bundle))
    names = ("user_vectors", "item_vectors", "seen_offsets", "seen_items", "popularity")
    for array in (*(getattr(bundle.contents, name) for name in names), bundle.fold_in, bundle.projection):
        assert type(array) is np.ndarray
        assert not array.flags.writeable
        assert type(owner(array)).__name__ == "mmap"


def test_loading_does_not_load_torch(rich_bundle: Path) -> None:
    script = (
        "import sys; from hnlm_ray.serving.bundle.bundle import load_bundle\n"
        f"bundle = load_bundle({str(rich_bundle)!r})\n"
        "print(bundle.info.items, sorted({'torch', 'transformers', 'ray', 'numba'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "240 []", done.stderr


def test_texts_are_sorted_by_their_key_and_otherwise_in_their_order(
    rich_contents: Contents, rich_extras: Extras, tmp_path: Path
) -> None:
    assert rich_extras.negatives is not None
    turned = rich_extras.negatives.take(np.arange(len(rich_extras.negatives))[::-1])
    write_bundle(str(tmp_path), rich_contents, ABOUT, extras=Extras(negatives=turned))
    found = pq.read_table(str(load_bundle(str(tmp_path)).text_table("negatives"))).to_pylist()
    assert found == sorted(turned.to_pylist(), key=lambda row: row["user"])


def test_nothing_of_an_encoder_comes_along_that_could_hold_code(
    rich_contents: Contents, rich_extras: Extras, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(ENCODER, tmp_path / "model"))
    for name in ("modeling.py", "pytorch_model.bin", "tokenizer.pkl", "model.pt"):
        (folder / name).write_text("import os")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    extras = dataclasses.replace(rich_extras, encoder=str(folder))
    write_bundle(str(tmp_path / "b"), rich_contents, ABOUT, extras=extras)
    found = {name for name in load_bundle(str(tmp_path / "b")).info.files if name.startswith("encoder/")}
    assert found == {f"encoder/{name}" for name in (*ENCODER_FILES, "1_Pooling/config.json")}


@pytest.mark.parametrize("half", ["encoder", "text_vectors"])
def test_text_vectors_and_their_encoder_go_together(
    rich_contents: Contents, rich_extras: Extras, tmp_path: Path, half: str
) -> None:
    write_bundle(str(tmp_path), rich_contents, ABOUT, extras=dataclasses.replace(rich_extras, **{half: None}))
    bundle = load_bundle(str(tmp_path))
    assert (bundle.encoder, bundle.projection) == (None, None)
    assert bundle.text_table("negatives") is not None


def test_profiles_of_users_decide_where_a_text_leads(
    rich_contents: Contents, rich_extras: Extras, tmp_path: Path
) -> None:
    users, vectors = np.arange(70, 10, -2), np.random.default_rng(0).normal(size=(30, 128)).astype(np.float32)
    extras = dataclasses.replace(rich_extras, profile_vectors=vectors, profiled_users=users)
    write_bundle(str(tmp_path), rich_contents, ABOUT, extras=extras)
    expected = fit_profile_map(vectors, rich_contents.user_vectors[users])
    np.testing.assert_array_equal(load_bundle(str(tmp_path)).projection, expected)
    extras = dataclasses.replace(extras, described_vectors=vectors[:5], described_items=np.arange(5))
    write_bundle(str(tmp_path), rich_contents, ABOUT, extras=extras)
    items = vectors[:5], rich_contents.item_vectors[:5]
    with_items = fit_profile_map(vectors, rich_contents.user_vectors[users], items)
    np.testing.assert_array_equal(load_bundle(str(tmp_path)).projection, with_items)
    assert not np.array_equal(with_items, expected)


def test_extras_that_do_not_belong_to_the_contents_leave_no_bundle(
    rich_contents: Contents, rich_extras: Extras, tmp_path: Path
) -> None:
    assert rich_extras.text_vectors is not None
    assert rich_extras.negatives is not None
    fewer = dataclasses.replace(rich_extras, text_vectors=rich_extras.text_vectors[:-1])
    absent = dataclasses.replace(rich_extras, encoder="no-such/model")
    narrower = dataclasses.replace(rich_extras, negatives=rich_extras.negatives.drop_columns(["reasoning"]))
    for extras, error, words in (
        (fewer, BundleError, "239 text vectors for 240 items"),
        (absent, BundleError, "encoder no-such/model is not a folder"),
        (narrower, DataError, "negatives of the bundle lacks the column 'reasoning'"),
    ):
        with pytest.raises(error, match=words):
            write_bundle(str(tmp_path), rich_contents, ABOUT, extras=extras)
        assert not (tmp_path / INFO).exists()


def test_a_figure_that_nobody_has_is_left_out(contents: Contents, tmp_path: Path) -> None:
    about = ABOUT.model_copy(update={"metrics": {}}).model_dump()
    metrics = {"valid ndcg@20": 0.1, "test ndcg@20": float("nan")}
    written = write_bundle(str(tmp_path), contents, type(ABOUT).model_validate({**about, "metrics": metrics}))
    assert load_bundle(str(tmp_path)).info == written
    assert written.about.metrics == {"valid ndcg@20": 0.1}


def test_the_version_follows_the_content(contents: Contents, tmp_path: Path) -> None:
    first = write_bundle(str(tmp_path / "a"), contents, ABOUT)
    again = write_bundle(str(tmp_path / "b"), contents, ABOUT)
    other = write_bundle(str(tmp_path / "c"), contents, ABOUT.model_copy(update={"seed": 4}))
    assert first.version == again.version
    assert first.version != other.version
    assert first.files == other.files
    assert first == read_info(str(tmp_path / "a"))


def test_the_version_follows_the_extras(
    rich_bundle: Path, rich_contents: Contents, rich_extras: Extras, tmp_path: Path
) -> None:
    assert rich_extras.negatives is not None
    versions = [read_info(str(rich_bundle)).version]
    fewer = dataclasses.replace(rich_extras, negatives=rich_extras.negatives.slice(1))
    for place, extras in enumerate((rich_extras, fewer, Extras(), None)):
        versions.append(write_bundle(str(tmp_path / str(place)), rich_contents, ABOUT, extras=extras).version)
    assert versions[0] == versions[1]
    assert versions[3] == versions[4]
    assert len({*versions}) == 3


@pytest.mark.parametrize("name", RICH_FILES)
def test_one_flipped_bit_is_noticed_and_the_file_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} is damaged: its checksum"):
        load_bundle(str(copy))


@pytest.mark.parametrize("name", RICH_FILES)
def test_a_truncated_file_is_noticed_and_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    for length in (len(content) - 1, len(content) // 2, 0):
        (copy / name).write_bytes(content[:length])
        with pytest.raises(BundleError, match=rf"{name} is damaged: it has {length} bytes, expected {len(content)}"):
            load_bundle(str(copy))


@pytest.mark.parametrize("name", RICH_FILES)
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
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": 2}', b"[" * 100_000], ids=lambda content: ascii(content[:9])
)
def test_an_unreadable_bundle_json_is_one_sentence(copy: Path, content: bytes) -> None:
    (copy / INFO).write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json cannot be understood") as caught:
        load_bundle(str(copy))
    assert "\n" not in str(caught.value)


def test_a_bundle_of_the_earlier_format_is_refused_by_that_name(copy: Path) -> None:
    info = json.loads((copy / INFO).read_text())
    (copy / INFO).write_text(json.dumps({**info, "format": 1}))
    with pytest.raises(BundleError, match=r"bundle\.json cannot be understood \(format: Input should be 2 or 3\)"):
        read_info(str(copy))


def test_a_bundle_json_that_is_cut_or_has_a_flipped_bit_is_noticed(bundle_path: Path, tmp_path: Path) -> None:
    content = (bundle_path / INFO).read_bytes()
    damaged = [content[:length] for length in range(0, len(content), 17)]
    for bit in range(0, 8 * len(content), 11):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for one in damaged:
        (tmp_path / INFO).write_bytes(one)
        with pytest.raises(BundleError, match=r"bundle\.json"):
            read_info(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    ["../far", "/etc/hostname", "encoder/../../far", "encoder/..", "..", ".", "", "encoder//x", "a\0b"],
    ids=ascii,
)
def test_a_name_that_leads_out_of_the_bundle_is_refused(copy: Path, name: str) -> None:
    far = copy.parent / "far"
    far.write_bytes(b"1234")
    entry = {"bytes": 4, "sha256": hashlib.sha256(b"1234").hexdigest()}
    sign_again(copy, lambda files: files.update({name: entry}))
    with pytest.raises(BundleError, match=r"bundle\.json lists .* not inside the bundle"):
        load_bundle(str(copy))


@pytest.mark.parametrize("name", FILES)
def test_a_bundle_json_that_does_not_list_a_file_is_refused(copy: Path, name: str) -> None:
    sign_again(copy, lambda files: files.pop(name))
    with pytest.raises(BundleError, match=rf"bundle\.json does not list {name}"):
        load_bundle(str(copy))


def test_signing_again_is_what_it_says(copy: Path) -> None:
    version = read_info(str(copy)).version
    sign_again(copy)
    assert load_bundle(str(copy)).info.version == version


@pytest.mark.parametrize(
    ("name", "tensors", "words"),
    [
        ("model", {"user_vectors": np.ones((80, 16), np.float32)}, "lacks a tensor .*item_vectors"),
        ("model", {}, "lacks a tensor .*user_vectors"),
        ("seen", {"offsets": np.zeros(81, np.int64), "items": np.zeros(5, np.int32)}, "seen_offsets do not divide"),
        ("popular", {"counts": np.zeros(240, np.float32)}, "popularity is float32"),
        ("fold_in", {"weights": np.zeros((16, 48), np.float32)}, r"fold_in has shape \(16, 48\), expected \(48, 16\)"),
        ("text", {"projection": np.zeros((128, 4), np.float32)}, r"projection has shape \(128, 4\)"),
        ("item_texts", {"vectors": np.zeros((240, 3), np.float16)}, r"item_texts has shape \(240, 3\)"),
        ("text", {"weights": np.zeros((128, 16), np.float32)}, "lacks a tensor .*projection"),
    ],
)
def test_tensors_that_are_not_a_bundles_are_refused_though_checksums_match(
    copy: Path, name: str, tensors: dict[str, np.ndarray], words: str
) -> None:
    save_file(tensors, copy / f"{name}.safetensors")
    sign_again(copy)
    with pytest.raises(BundleError, match=words):
        load_bundle(str(copy))


@pytest.mark.parametrize("name", ["model.safetensors", "users.parquet"])
def test_a_file_of_another_kind_is_refused_though_checksums_match(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"neither one nor the other")
    sign_again(copy)
    with pytest.raises(BundleError, match=r"a file of .* cannot be read"):
        load_bundle(str(copy))


def test_a_folder_without_a_bundle_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(str(tmp_path))


def test_an_unknown_kind_of_place_is_one_sentence() -> None:
    with pytest.raises(BundleError, match="nowhere://bucket"):
        load_bundle("nowhere://bucket/bundle")


def test_a_writer_that_dies_leaves_no_bundle(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off_copies(monkeypatch)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(str(tmp_path / "b"), contents, ABOUT)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(str(tmp_path / "b"))


def test_a_remote_bundle_is_fetched_and_checked(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    monkeypatch.setattr(bundle_module, "resolve", lambda path, _: (remote, path.removeprefix("s3://")))
    written = write_bundle("far/bundle", contents, ABOUT, remote)
    loaded = load_bundle("s3://far/bundle")
    assert loaded.info == written
    np.testing.assert_array_equal(loaded.contents.item_vectors, contents.item_vectors)
    (tmp_path / "far" / "bundle" / "users.parquet").unlink()
    with pytest.raises(BundleError, match=r"far/bundle/users\.parquet is missing"):
        load_bundle("s3://far/bundle")


def test_a_fetched_bundle_has_its_encoder_and_goes_with_its_last_user(
    rich_bundle: Path, rich_extras: Extras, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = pafs.SubTreeFileSystem(str(rich_bundle.parent), pafs.LocalFileSystem())
    monkeypatch.setattr(bundle_module, "resolve", lambda path, _: (remote, path.removeprefix("s3://")))
    bundle = load_bundle(f"s3://{rich_bundle.name}")
    folder = Path(bundle.folder)
    assert folder != rich_bundle
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(RICH_FILES)
    assert pq.read_table(str(bundle.text_table("negatives"))).equals(rich_extras.negatives)
    vectors = bundle.contents.item_vectors
    expected = vectors.copy()
    del bundle
    gc.collect()
    assert not folder.exists()
    np.testing.assert_array_equal(vectors, expected)  # what is mapped stays
