"""A fit in one Ray task: checkpoints, restarts after a lost process, and errors as sentences."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pyarrow.fs as pafs
import pytest
import ray

from hnlm_ray.cluster.alone import Checkpoints, run_alone
from hnlm_ray.config.resources import WorkerOptions
from hnlm_ray.errors import DataError, ResourceError, StageError
from hnlm_ray.run.places import Folder


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(Folder(pafs.LocalFileSystem(), str(tmp_path / "checkpoints")))


@pytest.fixture(scope="module", autouse=True)
def by_value() -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find test modules


def content(kept: Checkpoints) -> str | None:
    with kept.newest() as folder:
        return None if folder is None else (folder / "part").read_text()


def test_the_newest_checkpoint_is_kept(kept: Checkpoints) -> None:
    assert content(kept) is None
    for number in (3, 12, 100):
        kept.save(number, lambda folder, text=str(number): (folder / "part").write_text(text))
        assert content(kept) == str(number)
    assert kept.place.folders() == ["000000100"]


def test_one_that_is_half_written_does_not_count(kept: Checkpoints) -> None:
    kept.save(1, lambda folder: (folder / "part").write_text("whole"))
    half = kept.place.folder("000000002")
    half.create()
    half.write_bytes("part", b"ha")
    assert content(kept) == "whole"
    kept.save(3, lambda folder: (folder / "part").write_text("next"))
    assert kept.place.folders() == ["000000003"]


def counting(task: tuple[int, int, int], kept: Checkpoints) -> tuple[int, int]:
    """Counts to a number and dies at another; returns how far it got and where it began."""
    stop, deadly, times = task
    with kept.newest() as folder:
        begun = 0 if folder is None else int((folder / "part").read_text())
    deaths = Path(kept.place.path).parent / "deaths"
    died = int(deaths.read_text()) if deaths.exists() else 0
    for number in range(begun + 1, stop + 1):
        if number == deadly and died < times:
            deaths.write_text(str(died + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        kept.save(number, lambda folder, text=str(number): (folder / "part").write_text(text))
    return stop, begun


@pytest.mark.ray
def test_a_lost_process_is_replaced_and_goes_on_from_its_checkpoint(ray_session: None, kept: Checkpoints) -> None:
    assert run_alone(counting, (5, 4, 1), WorkerOptions(max_failures=1), "train", kept) == (5, 3)
    assert content(kept) == "5"


@pytest.mark.ray
def test_one_that_is_lost_too_often_is_one_sentence(ray_session: None, kept: Checkpoints) -> None:
    with pytest.raises(StageError, match=r"lost more than 1 time\(s\): .*raise train.max_failures"):
        run_alone(counting, (5, 4, 9), WorkerOptions(max_failures=1), "train", kept)
    assert content(kept) == "3"


def refusing(task: str, kept: Checkpoints) -> None:
    raise DataError(task, "bring more")


@pytest.mark.ray
def test_what_the_body_refuses_is_raised_as_it_is(ray_session: None, kept: Checkpoints) -> None:
    with pytest.raises(DataError, match="too few pairs; bring more"):
        run_alone(refusing, "too few pairs", WorkerOptions(), "train", kept)


def breaking(task: str, kept: Checkpoints) -> None:
    raise ValueError(f"{task}\nand more")


@pytest.mark.ray
def test_any_other_error_is_one_sentence(ray_session: None, kept: Checkpoints) -> None:
    with pytest.raises(
        StageError, match=r"training failed with ValueError: no such shape; a class of your own"
    ) as caught:
        run_alone(breaking, "no such shape", WorkerOptions(), "train", kept)
    assert "and more" not in str(caught.value)


@pytest.mark.ray
def test_a_gpu_that_is_not_there_is_one_sentence(ray_session: None, kept: Checkpoints) -> None:
    with pytest.raises(ResourceError, match=r"train\.workers=1 needs 1 GPU"):
        run_alone(refusing, "", WorkerOptions(accelerator="gpu"), "train", kept)
