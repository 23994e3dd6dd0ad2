"""Offline recommendations equal those of the recommender, and a folder is complete or not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.errors import BundleError, ResourceError, StoreError
from hnlm_ray.serving import offline, output_folder
from hnlm_ray.serving.bundle.shelf import AVAILABILITY_FILE
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.offline import recommend_all, recommendation_table
from hnlm_ray.serving.output_folder import DONE, OutputFolder
from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.serving.recommend.results import Recommendation
from hnlm_ray.tables import RECOMMENDATIONS, conform
from tests.said import Said
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
    said = Said()
    recommend_all(str(wide_path), str(tmp_path / "out"), 3, 1, said)
    assert all(line.startswith("recommending: ") and " of 1,500, " in line for line in said)


@ray_test
def test_an_error_in_the_middle_leaves_nothing(ray_session: None, wide_path: Path, tmp_path: Path) -> None:
    """A worker cannot write one of its files, because a folder has its name."""

    class Blocked(OutputFolder):
        def check_free(self) -> None:
            super().check_free()
            Path(self.staging, "part-000001.parquet").mkdir(parents=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline, "OutputFolder", Blocked)
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
    finish = OutputFolder.finish

    def lose(target: Any, sizes: dict[str, int], about: dict[str, object]) -> None:
        Path(target.staging, "part-000001.parquet").unlink()
        finish(target, sizes, about)

    monkeypatch.setattr(OutputFolder, "finish", lose)
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
    monkeypatch.setattr(output_folder, "resolve", lambda path: (remote, path.removeprefix("s3://")))
    target = OutputFolder("s3://far/out")
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


@ray_test
def test_files_are_in_the_order_of_users_and_bounded(
    ray_session: None, wide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "_ROWS_PER_FILE", 2500)
    recommend_all(str(wide_path), str(tmp_path / "out"), 12, 2)
    files = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert len(files) == 8  # of at most 208 users each
    assert all(table.num_rows <= 2500 for table in files)
    assert [row for table in files for row in _rows(table)] == _expected(wide_path, 12)


def test_a_range_of_users_in_arrays(wide_path: Path) -> None:
    recommender = Recommender.load(str(wide_path))
    table, popular = recommendation_table(recommender, 700, 1400, 9)
    expected = [row for row in _expected(wide_path, 9) if 700 <= int(row[0][1:]) < 1400]
    assert _rows(conform(table, RECOMMENDATIONS, "a range")) == expected
    assert popular == 100


def test_wishes_that_tiles_cannot_grant_are_refused(wide_path: Path) -> None:
    recommender = Recommender.load(str(wide_path))
    for options in (RankingOptions(diversity=0.5), RankingOptions(popularity_penalty=1.0)):
        with pytest.raises(ValueError, match="rank_rows"):
            recommender.top_items(np.arange(3), options)


@pytest.mark.parametrize("chosen", [{}, {"exclude_seen": False}, {"exclude_items": ("i3", "i9")}])
def test_arrays_equal_rankings(wide_path: Path, chosen: dict[str, Any]) -> None:
    options = RankingOptions(7, **chosen)
    recommender = Recommender.load(str(wide_path))
    rows = np.random.default_rng(0).permutation(1500)[:900]
    items, scores, counts = recommender.top_items(rows, options)
    for place, ranking in enumerate(recommender.rank_rows(rows, options)):
        assert items[place, : counts[place]].tolist() == ranking.items.tolist()
        assert scores[place, : counts[place]].tolist() == ranking.scores.tolist()


@ray_test
def test_recommendations_are_replaced_where_that_is_asked_for(
    ray_session: None, wide_path: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    recommend_all(str(wide_path), out, 3, 1)
    with pytest.raises(StoreError, match=r"holds recommendations; give another folder, or add --overwrite"):
        recommend_all(str(wide_path), out, 5, 1)
    recommend_all(str(wide_path), out, 5, 1, overwrite=True)
    assert _rows(pq.read_table(out)) == _expected(wide_path, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("is_local", [True, False])
def test_what_is_replaced_is_whole_until_the_end(
    is_local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_local:
        remote = pa.fs.SubTreeFileSystem(str(tmp_path), pa.fs.LocalFileSystem())
        monkeypatch.setattr(output_folder, "resolve", lambda path: (remote, "out"))
    place = tmp_path / "out"
    place.mkdir()
    for name in (DONE, "part-000000.parquet", "part-000001.parquet"):
        (place / name).write_bytes(b"old")
    target = OutputFolder(str(place), overwrite=True)
    target.check_free()
    with target.writing():
        staged = Path(target.staging) if is_local else tmp_path / target.staging
        (staged / "part-000000.parquet").write_bytes(b"1234")
        assert {path.read_bytes() for path in place.glob("part*")} == {b"old"}
        target.finish({"part-000000.parquet": 4}, {"k": 3})
    assert sorted(path.name for path in place.iterdir()) == [DONE, "part-000000.parquet"]
    assert (place / "part-000000.parquet").read_bytes() == b"1234"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("names", [[DONE, "notes.txt"], ["notes.txt"], ["part-000000.parquet"]])
def test_only_recommendations_are_replaced(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(StoreError, match="give another folder"):
        OutputFolder(str(tmp_path), overwrite=True).check_free()


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom hnlm_ray.serving.output_folder import OutputFolder\n"
        "with OutputFolder(sys.argv[1]).writing():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False)
    [left] = tmp_path.iterdir()
    assert "_unfinished-" in left.name
    with OutputFolder(str(tmp_path / "out")).writing(), OutputFolder(str(tmp_path / "out")).writing():
        assert not left.exists()
        assert len(list(tmp_path.iterdir())) == 2  # that of a run at work stays
    assert list(tmp_path.iterdir()) == []
