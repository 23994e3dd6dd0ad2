"""A finished run that commands can be given: its stages are written by hand, its bundle is a real one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.stage import StageContext, StageKey
from hnlm_ray.run.store import RunStore
from hnlm_ray.stages import bundle
from hnlm_ray.tables import METRICS
from tests.stages.finished_run import FinishedRun

VALID = {"uniform": 0.3, "dns": 0.4}
OPTIONS = ["data.min_rating=4", "train.variants={uniform: {}, dns: {sampler: dns}}"]


def write_small_run(folder: Path, valid: Mapping[str, float] | None = None, *more: str) -> Config:
    """A finished run.

    Args:
        folder: where.
        valid: validation NDCG@20 of each variant; that on the test split is 0.1 less.
        more: overrides besides :data:`OPTIONS`.
    """
    valid = VALID if valid is None else valid
    run = FinishedRun(folder)
    run.config = load_config([], [f"run={folder}", *OPTIONS, *more])
    run.prepare(truth=False)
    run.fits()
    artifact = run.artifact("evaluate")
    artifact.write("metrics", pa.Table.from_pylist(_metrics(valid), schema=METRICS))
    run.commit(artifact, {"metrics": 1})
    artifact = run.artifact("report")
    artifact.write_bytes("report.html", b"<html>the report</html>")
    run.commit(artifact, {})
    for name in run.config.served:
        context: StageContext = run.context(f"bundle.{name}")
        summary = bundle.run(context, variant=name)
        run.commit(context.output, dict(summary.rows))
    keys = [StageKey("prepare"), *(StageKey("train", name, 0) for name in valid), StageKey("evaluate")]
    keys += [StageKey("report"), *(StageKey("bundle", name) for name in run.config.served)]
    RunRecord.of(run.config, {key: run.inputs[key.name] for key in keys}).write(RunStore(str(folder)))
    return run.config


def _metrics(valid: Mapping[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name, level in {**valid, "popularity": 0.9}.items():
        key = {"variant": name, "seed": None if name == "popularity" else 0, "k": 20}
        for split, value in (("valid", level), ("test", level - 0.1)):
            rows += [{**key, "split": split, "metric": "ndcg", "value": value}]
            rows += [{**key, "split": split, "metric": "recall", "value": value / 2}]
    return rows
