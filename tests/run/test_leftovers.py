"""What may be deleted of a run, and what never is."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli import main
from hnlm_ray.errors import StoreError
from hnlm_ray.run.store import RunStore
from tests.report.small_runs import values, write_run

LIVE = {"evaluate/e", "prepare/data", "train.uniform.s0/f", "train.uniform.s1/f"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with results of another configuration, half-written ones, scratch, and those of a study."""
    folder = tmp_path / "run"
    write_run(folder, {"uniform": {0: values(0.1, 0), 1: values(0.2, 1)}})
    for place in ("prepare/other", "train.gone.s0/f", "study_fit/1", "study/2", "train.uniform.s0/f/_ray_train"):
        (folder / place).mkdir(parents=True)
        (folder / place / "file").write_bytes(b"x" * 2**20)
    (folder / "evaluate" / "e" / "_metrics.parquet.17.tmp").write_bytes(b"x")
    return folder


def gc(run: Path, *options: str) -> tuple[str, BaseException | None]:
    done = CliRunner().invoke(main.app, ["gc", str(run), *options])
    return done.stdout, done.exception


def files(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def folders(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.glob("*/*")}


def test_a_dry_run_lists_and_deletes_nothing(run: Path) -> None:
    before = files(run)
    out, error = gc(run, "--dry-run")
    assert error is None
    assert {line.split()[1] for line in out.splitlines()[:-1]} == {
        "prepare/other", "train.gone.s0/f", "train.uniform.s0/f/_ray_train", "evaluate/e/_metrics.parquet.17.tmp",
    }  # fmt: skip
    assert "3.0 MiB would be deleted" in out
    assert files(run) - {".lock"} == before


def test_what_the_run_refers_to_and_what_studies_computed_stays(run: Path) -> None:
    out, error = gc(run)
    assert error is None
    assert "3.0 MiB were deleted" in out
    assert folders(run) == LIVE | {"study_fit/1", "study/2"}
    assert not (run / "train.gone.s0").exists()
    assert not [path for path in files(run) if "/_" in path]
    assert gc(run)[0] == "0.0 MiB were deleted\n"
    gc(run, "--studies")
    assert folders(run) == LIVE
    assert CliRunner().invoke(main.app, ["verify", str(run)]).exception is None


def test_an_unfinished_stage_of_the_run_keeps_its_work(run: Path) -> None:
    stage = run / "train.uniform.s0" / "f"
    (stage / "manifest.json").unlink()
    gc(run)
    assert (stage / "_ray_train" / "file").exists()


def test_nothing_is_deleted_while_another_process_works_on_the_run(run: Path) -> None:
    before = files(run)
    with RunStore(str(run)).lock():
        _, error = gc(run)
    assert isinstance(error, StoreError)
    assert "another process is working" in str(error)
    assert files(run) - {".lock"} == before


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    assert "is no run folder" in str(gc(tmp_path)[1])
    assert (tmp_path / "keep").exists()
