"""The curve of a fit while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.run.places import Folder
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training import live
from hnlm_ray.training.fit import fit
from hnlm_ray.training.live import LiveCurve, live_folder, read_curve

TRAIN, VALID = random_world(40, 30, 0.2, 0)
PLAIN = VariantConfig(dim=8, epochs=4, batch_size=64, learning_rate=0.01, validate_every=2)


def test_the_file_has_every_epoch_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_EVERY_S", 0.0)
    folder = live_folder(Folder(LocalFileSystem(), str(tmp_path)))
    seen = []
    history = fit(
        TRAIN, VALID, PLAIN, 0, callbacks=[LiveCurve(folder)], on_validation=lambda _: seen.append(read_curve(folder))
    ).progress.history
    # At a validation, the epoch is there already, and its figures on validation come next.
    assert [[row["epoch"] for row in rows] for rows in seen] == [[1, 2], [1, 2, 3, 4]]
    assert "valid_ndcg" not in seen[0][1]
    rows = read_curve(folder)
    assert rows == [{key: value for key, value in vars(one).items() if value is not None} for one in history]


def test_short_epochs_cost_a_file_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(live, "write_curve", lambda folder, rows: written.append(len(rows)))
    monkeypatch.setattr(live.time, "monotonic", iter([0.0, 0.0, 0.3, 0.6, 1.1, 1.1]).__next__)
    curve = LiveCurve(Folder(LocalFileSystem(), str(tmp_path)))
    for epoch in range(1, 5):
        curve.on_epoch(epoch, {"loss": 1.0})
    assert written == [1, 4]


def test_a_place_that_cannot_be_written_stops_no_fit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = Folder(LocalFileSystem(), str(tmp_path / "file" / "live"))
    assert fit(TRAIN, VALID, PLAIN, 0, callbacks=[LiveCurve(folder)]).progress.epoch == 4
    assert read_curve(folder) == []


def test_half_a_file_is_no_curve(tmp_path: Path) -> None:
    (tmp_path / "curve.json").write_text('[{"epoch": 1')
    assert read_curve(Folder(LocalFileSystem(), str(tmp_path))) == []
