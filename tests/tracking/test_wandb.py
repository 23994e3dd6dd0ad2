"""Weights & Biases offline: what its files hold. Its service is not tested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.runs import FIT, TrackedRun, rows

pytest.importorskip("wandb", reason="the extra wandb brings it")

_BLOCK = 32768


def records(file: Path) -> Iterator[Any]:
    """The records of a file of W&B: LevelDB's format of logs, after seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_a_fit_is_a_run_in_the_group_of_its_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    options = f"tracking.wandb={{mode: offline, folder: '{tmp_path}', project: mine}}"
    one = TrackedRun(tmp_path, options, "tracking.patience_s=60")
    one.execute()
    assert one.said == []
    found = {}
    for file in tmp_path.glob("wandb/offline-run-*/*.wandb"):
        content = list(records(file))
        (run,) = [record.run for record in content if record.HasField("run")]
        found[run.display_name] = run, content
    assert set(found) == {one.config.run, "train.uniform.s0", FIT}
    assert len({run.run_group for run, _ in found.values()}) == 1
    assert {name: run.job_type for name, (run, _) in found.items()}[FIT] == "fit"
    run, content = found[FIT]
    assert run.project == "mine"
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["sampler.name"] == "dns"
    history = [_items(record.history.item) for record in content if record.HasField("history")]
    assert [(row["epoch"], row["loss"]) for row in history] == [(row["epoch"], row["loss"]) for row in rows(6)]
    assert history[1]["valid_ndcg"] == rows(6)[1]["valid_ndcg"]
    summary: dict[str, Any] = {}
    for record in content:
        if record.HasField("summary"):
            summary |= _items(record.summary.update)
    assert summary["test/ndcg_20"] == pytest.approx(0.3)
    _, parent = found[one.config.run]
    assert any(record.request.HasField("log_artifact") or record.HasField("artifact") for record in parent)


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_without_a_key_a_run_is_told_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    one = TrackedRun(tmp_path, "tracking.wandb={}")
    one.execute()
    assert one.run[FIT].artifact.is_complete
    assert one.said == [
        "tracking with Weights & Biases has ended (there is no key for Weights & Biases: set WANDB_API_KEY, or"
        " tracking.wandb.mode=offline); the run goes on without it"
    ]
