"""What TensorBoard reads of a run, and of one that was stopped and goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.errors import StageError
from hnlm_ray.run.stage import StageContext
from tests.tracking.runs import FIT, TrackedRun, rows

pytest.importorskip("tensorboard", reason="the extra tracking brings it")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Any = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_a_stopped_run_goes_on_in_its_folder(tmp_path: Path) -> None:
    one = TrackedRun(tmp_path, f"tracking.tensorboard.folder={tmp_path}/events", "tracking.patience_s=30")

    def fail(context: StageContext) -> None:
        end = time.monotonic() + 30
        while not any(path.name.startswith(FIT) for path in tmp_path.glob("events/*/*")):
            assert time.monotonic() < end
            time.sleep(0.05)
        raise StageError("enough", "stop")

    with pytest.raises(StageError, match="enough"):
        one.execute(fail)
    one.execute()
    assert one.said == []
    (folder,) = (tmp_path / "events").iterdir()
    assert folder.name.startswith("run-")
    (fit,) = folder.glob(f"{FIT}-*")
    found = scalars(fit)
    for name in ("loss", "valid_ndcg"):
        expected = [(row["epoch"], row[name]) for row in rows(6) if name in row]
        assert [epoch for epoch, _ in found[name]] == [epoch for epoch, _ in expected]
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in expected])
    assert found["test/ndcg_20"] == [(0, pytest.approx(0.3))]
    assert "dns/test_ndcg_20" in scalars(folder / "pipeline")


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = TrackedRun(tmp_path, f"tracking.tensorboard.folder={tmp_path}/file/events", "tracking.patience_s=30")
    one.execute()
    assert one.run[FIT].artifact.is_complete
    assert len(one.said) == 1
    assert "NotADirectoryError" in one.said[0]
