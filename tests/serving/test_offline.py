"""Offline recommendations equal those of the recommender, and a folder is complete or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.errors import BundleError, ResourceError, StoreError
from hnlm_ray.kernels import tiles
from hnlm_ray.kernels.selection import best_items, mask_rows
from hnlm_ray.kernels.tiles import Seen, best_products
from hnlm_ray.serving import offline
from hnlm_ray.serving.bundle.bundle import write_bundle
from hnlm_ray.serving.bundle.shelf import AVAILABILITY_FILE
from hnlm_ray.serving.offline import DONE, recommend_all, recommend_range
from hnlm_ray.serving.recommend.recommender import Recommendation, Recommender
from hnlm_ray.serving.recommend.wishes import Wishes
from hnlm_ray.tables import RECOMMENDATIONS, conform
from tests.serving.conftest import ABOUT, make_contents
from tests.serving.services import N_ITEMS, stocked_shelf

ray_test = pytest.mark.ray


@pytest.fixture(scope="module")
def wide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 users, 300 items, in the vectors small integers; every seventh user has met nothing."""
    rng = np.random.default_rng(8)
    seen = [[] if row % 7 == 0 else rng.choice(300, size=row % 30 + 1, replace=False).tolist() for row in range(1500)]
    vectors = rng.integers(-4, 5, size=(1800, 6))
    path = tmp_path_factory.mktemp("wide")
    write_bundle(str(path), make_contents(vectors[:1500], vectors[1500:], seen), ABOUT)
    return path


def _flat(answers: list[Recommendation]) -> list[tuple[str, int, str, float, str]]:
    """Rows as a file should have them; users are ``u0``, ``u1``..."""
    return [
        (f"u{user}", rank, item.item_id, item.score, answer.source)
        for user, answer in enumerate(answers)
        for rank, item in enumerate(answer.items, start=1)
    ]


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _expected(path: Path, k: int) -> list[tuple[str, int, str, float, str]]:
    recommender = Recommender.load(str(path))
    return _flat(recommender.recommend_many([f"u{row}" for row in range(recommender.info.users)], k))


@ray_test
@pytest.mark.parametrize("workers", [1, 2, None])
def test_equals_the_recommender_for_all_users(
    ray_session: None, wide_path: Path, tmp_path: Path, workers: int | None
) -> None:
    summary = recommend_all(str(wide_path), str(tmp_path / "out"), 12, workers)
    table = pq.read_table(tmp_path / "out")
    assert table.schema.equals(RECOMMENDATIONS)
    assert _rows(table) == _expected(wide_path, 12)
    assert (summary.rows, summary.users, summary.popular_users) == (len(table), 1500, 215)
    assert summary.users_per_second == pytest.approx(1500 / summary.seconds)
    assert 0 < summary.ranking_seconds < summary.seconds
    assert str(summary).startswith("18,000 recommendations for 1,500 users (215 of them by popularity)")


@ray_test
def test_more_than_there_are_items_and_users_who_met_all(ray_session: None, bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty folder is fine
    summary = recommend_all(str(bundle_path), str(tmp_path / "out"), 1000, 1)
    table = pq.read_table(tmp_path / "out")
    assert _rows(table) == _expected(bundle_path, 1000)
    assert summary.users == 40
    users = set(table["user_id"].to_pylist())
    assert users == {f"u{row}" for row in range(40)} - {"u1"}  # who has met everything
    assert sorted(table["source"].unique().to_pylist()) == ["personal", "popular"]


@ray_test
def test_of_a_shelf_the_current_bundle_without_what_cannot_be_had(ray_session: None, tmp_path: Path) -> None:
    shelf, versions = stocked_shelf(tmp_path)
    shelf.use(versions[1])
    gone = {f"i{row}" for row in range(0, N_ITEMS, 3)}
    available = pa.table({"item_id": sorted(gone), "available": [False] * len(gone)})
    pq.write_table(available, f"{shelf.path}/{AVAILABILITY_FILE}")
    summary = recommend_all(shelf.path, str(tmp_path / "out"), N_ITEMS, 1)
    table = pq.read_table(tmp_path / "out")
    assert json.loads((tmp_path / "out" / DONE).read_text())["bundle_version"] == versions[1]
    everything = _expected(Path(shelf.path_of(versions[1])), N_ITEMS)
    assert [row[2] for row in everything if row[2] not in gone] == table["item_id"].to_pylist()
    assert _rows(table) == _expected(Path(shelf.path), N_ITEMS)
    assert 0 < summary.rows == len(table) < len(everything)


@ray_test
def test_the_folder_says_what_it_holds(ray_session: None, wide_path: Path, tmp_path: Path) -> None:
    recommend_all(str(wide_path), str(tmp_path / "out"), 3, 2)
    about = json.loads((tmp_path / "out" / DONE).read_text())
    files = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert about["files"] == files
    assert len(files) > 1
    assert (about["k"], about["users"], about["rows"]) == (3, 1500, 4500)
    assert about["bundle_version"] == Recommender.load(str(wide_path)).info.version
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # and nothing is left beside it


@ray_test
def test_progress_is_said(ray_session: None, wide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = offline.heartbeat
    monkeypatch.setattr(offline, "heartbeat", lambda look, say: quick(look, say, 0.01))
    said: list[str] = []
    recommend_all(str(wide_path), str(tmp_path / "out"), 3, 1, said.append)
    assert all(line.startswith("recommending: ") and " of 1,500, " in line for line in said)


@ray_test
def test_an_error_in_the_middle_leaves_nothing(ray_session: None, wide_path: Path, tmp_path: Path) -> None:
    """A worker cannot write one of its files, because a folder has its name."""

    class Blocked(offline._Target):
        def check_free(self) -> None:
            super().check_free()
            Path(self.staging, "part-000001.parquet").mkdir(parents=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline, "_Target", Blocked)
        with pytest.raises(StoreError, match=r"part-000001\.parquet"):
            recommend_all(str(wide_path), str(tmp_path / "out"), 3, 1)
    assert list(tmp_path.iterdir()) == []
    recommend_all(str(wide_path), str(tmp_path / "out"), 3, 1)  # and the next run can use the place


@ray_test
def test_a_run_that_stops_before_the_end_leaves_nothing(
    ray_session: None, wide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = offline._work

    def interrupted(*args: Any) -> Any:
        rows = work(*args)
        yield next(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(offline, "_work", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recommend_all(str(wide_path), str(tmp_path / "out"), 3, 1)
    assert list(tmp_path.iterdir()) == []


@ray_test
def test_a_file_that_is_lost_is_noticed(
    ray_session: None, wide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = offline._Target.finish

    def lose(target: Any, sizes: dict[str, int], about: dict[str, object]) -> None:
        Path(target.staging, "part-000001.parquet").unlink()
        finish(target, sizes, about)

    monkeypatch.setattr(offline._Target, "finish", lose)
    with pytest.raises(StoreError, match=r"part-000001\.parquet is lost"):
        recommend_all(str(wide_path), str(tmp_path / "out"), 3, 1)
    assert list(tmp_path.iterdir()) == []


@ray_test
def test_a_damaged_bundle_is_one_sentence(ray_session: None, bundle_path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "bundle"
    damaged.mkdir()
    for file in bundle_path.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    content = bytearray((damaged / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match="checksum") as caught:
        recommend_all(str(damaged), str(tmp_path / "out"), 3, 1)
    assert str(caught.value).endswith("build the bundle again, or fetch a fresh copy.")
    assert not (tmp_path / "out").exists()


@ray_test
def test_more_workers_than_cpus_are_refused(ray_session: None, bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="needs 999 CPU"):
        recommend_all(str(bundle_path), str(tmp_path / "out"), 3, 999)
    with pytest.raises(ValueError, match="workers is 0"):
        recommend_all(str(bundle_path), str(tmp_path / "out"), 3, 0)


@ray_test
def test_a_bundle_without_users_gives_an_empty_table(ray_session: None, tmp_path: Path) -> None:
    write_bundle(str(tmp_path / "bundle"), make_contents(np.empty((0, 2)), np.ones((3, 2)), []), ABOUT)
    assert recommend_all(str(tmp_path / "bundle"), str(tmp_path / "out"), 3, 1).rows == 0
    assert pq.read_table(tmp_path / "out").schema.equals(RECOMMENDATIONS)


@pytest.mark.parametrize(("name", "problem"), [("notes.txt", f"holds files and no {DONE}"), (DONE, "recommendations")])
def test_a_folder_with_files_is_refused(bundle_path: Path, tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(StoreError, match=problem) as caught:
        recommend_all(str(bundle_path), str(tmp_path), 3)
    assert str(caught.value).count("\n") == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_place_of_the_folder_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        recommend_all(str(bundle_path), str(tmp_path / "out"), 3)


def test_k_below_one_and_a_missing_bundle_are_refused(bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="k is 0"):
        recommend_all(str(bundle_path), str(tmp_path / "out"), 0)
    with pytest.raises(BundleError):
        recommend_all(str(tmp_path / "nowhere"), str(tmp_path / "out"), 3)


def test_an_object_store_shows_files_only_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not a local file system, as far as the target knows: nothing can be renamed as a whole."""
    remote = pa.fs.SubTreeFileSystem(str(tmp_path), pa.fs.LocalFileSystem())
    monkeypatch.setattr(offline, "_resolve", lambda path: (remote, path.removeprefix("s3://")))
    target = offline._Target("s3://far/out")
    target.check_free()
    with pytest.raises(OSError, match="in the middle"), target.writing():  # noqa: PT012
        assert target.staging.startswith("far/out/_unfinished-")
        (tmp_path / target.staging / "part-000000.parquet").write_bytes(b"1234")
        raise OSError("in the middle")
    assert list((tmp_path / "far" / "out").iterdir()) == []
    (tmp_path / "far" / "out" / "_unfinished-killed").mkdir()
    target.check_free()  # what a killed run left does not count
    with target.writing():
        (tmp_path / target.staging / "part-000000.parquet").write_bytes(b"1234")
        target.finish({"part-000000.parquet": 4}, {"k": 3})
    found = sorted(path.name for path in (tmp_path / "far" / "out").iterdir())
    assert found == [DONE, "_unfinished-killed", "part-000000.parquet"]
    with pytest.raises(StoreError, match="holds recommendations"):
        target.check_free()


def test_files_are_ranges_of_users_and_bounded() -> None:
    ranges = offline._ranges(10_000_000, 100, 4)
    assert len(ranges) == 1000
    starts, stops = ranges["start"].to_numpy(), ranges["stop"].to_numpy()
    assert starts[0] == 0
    assert stops[-1] == 10_000_000
    assert np.array_equal(starts[1:], stops[:-1])
    assert (stops - starts).max() * 100 <= 1_000_000
    assert len(offline._ranges(20_000, 100, 2)) == 8
    assert len(offline._ranges(100, 100, 2)) == 1
    assert len(offline._ranges(3, 5_000_000, 2)) == 3


def test_a_range_of_users_in_arrays(wide_path: Path) -> None:
    recommender = Recommender.load(str(wide_path))
    table, popular = recommend_range(recommender, 700, 1400, 9)
    expected = [row for row in _expected(wide_path, 9) if 700 <= int(row[0][1:]) < 1400]
    assert _rows(conform(table, RECOMMENDATIONS, "a range")) == expected
    assert popular == 100


def test_wishes_that_tiles_cannot_grant_are_refused(wide_path: Path) -> None:
    recommender = Recommender.load(str(wide_path))
    for wishes in (Wishes(diversity=0.5), Wishes(popularity_penalty=1.0)):
        with pytest.raises(ValueError, match="rank_rows"):
            recommender.best_rows(np.arange(3), wishes)


@pytest.mark.parametrize("wishes", [Wishes(7), Wishes(7, exclude_seen=False), Wishes(7, exclude_items=("i3", "i9"))])
def test_arrays_equal_rankings(wide_path: Path, wishes: Wishes) -> None:
    recommender = Recommender.load(str(wide_path))
    rows = np.random.default_rng(0).permutation(1500)[:900]
    items, scores, counts = recommender.best_rows(rows, wishes)
    for place, ranking in enumerate(recommender.rank_rows(rows, wishes)):
        assert items[place, : counts[place]].tolist() == ranking.items.tolist()
        assert scores[place, : counts[place]].tolist() == ranking.scores.tolist()


@st.composite
def tile_worlds(draw: st.DrawFn) -> dict[str, Any]:
    """Ties of all lengths, or none; tiles from a group to everything; one thread to three."""
    return {
        "n_users": draw(st.integers(1, 60)),
        "n_items": draw(st.integers(1, 500)),
        "k": draw(st.integers(1, 120)),
        "ties": draw(st.sampled_from(["many", "all", "none", "rising"])),
        "tile_items": draw(st.sampled_from([1, 64, 96, 20_480])),
        "tile_scores": draw(st.sampled_from([1, 900, 1 << 20])),
        "threads": draw(st.integers(1, 3)),
        "masked": draw(st.booleans()),
        "forbids": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def _vectors(rng: np.random.Generator, world: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    shape = (world["n_users"] + world["n_items"], 1 if world["ties"] == "rising" else 3)
    if world["ties"] == "many":
        vectors = rng.integers(-2, 3, size=shape).astype(np.float32)
    elif world["ties"] == "all":
        vectors = np.ones(shape, np.float32)
    else:
        vectors = rng.integers(-(2**10), 2**10, size=shape).astype(np.float32)  # products are exact in any order
    users, items = vectors[: world["n_users"]], vectors[world["n_users"] :]
    return users, np.sort(items, axis=0) if world["ties"] == "rising" else items


@settings(max_examples=300, deadline=None)
@given(world=tile_worlds())
def test_tiles_equal_whole_rows(world: dict[str, Any]) -> None:
    rng = np.random.default_rng(world["seed"])
    n_users, n_items = world["n_users"], world["n_items"]
    users, items = _vectors(rng, world)
    lengths = rng.integers(0, n_items + 1, size=n_users)
    met = [np.sort(rng.choice(n_items, size=length, replace=False)) for length in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    seen = Seen(rng.permutation(n_users), offsets, np.concatenate(met).astype(np.int32))
    forbidden = np.where(rng.random(n_items) < 0.3, -np.inf, 0).astype(np.float32) if world["forbids"] else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_widest", lambda k: world["tile_items"])
        patch.setattr(tiles, "_TILE_SCORES", world["tile_scores"])
        patch.setattr(tiles, "_ROWS_PER_THREAD", 1)
        patch.setenv("OMP_NUM_THREADS", str(world["threads"]))
        found = best_products(users, items, world["k"], seen if world["masked"] else None, forbidden)
    scores = users @ items.T
    if world["masked"]:
        mask_rows(scores, seen.rows, seen.offsets, seen.items)
    if forbidden is not None:
        scores += forbidden
    expected = best_items(scores, world["k"])
    assert np.array_equal(found[2], expected[2])
    filled = np.arange(found[0].shape[1]) < found[2][:, None]
    assert np.array_equal(found[0][filled], expected[0][filled])
    assert np.array_equal(found[1][filled], expected[1][filled])


def test_steps_are_even_and_cover_everything() -> None:
    for total, most, multiple in ((1, 5, 1), (100_000, 20_480, 32), (7, 3, 32), (33, 32, 32), (0, 9, 1)):
        size = tiles._even(total, most, multiple)
        assert size % multiple == 0
        assert size <= max(most, multiple) + multiple
        assert -(-total // size) <= max(1, -(-total // most))
