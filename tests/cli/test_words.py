"""Summaries read as words."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.cli.words import COUNTS, ROWS, counted, summary_line
from hnlm_ray.config.load import load_config
from hnlm_ray.run.plan import PlannedStage
from hnlm_ray.run.specs import SPECS
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import RunStore


def test_every_table_that_a_stage_writes_has_words() -> None:
    assert {table for spec in SPECS.values() for table in spec.writes} == ROWS.keys()


def test_every_count_on_a_summary_line_reads_as_words() -> None:
    headlines = {name for spec in SPECS.values() for name in spec.headlines}
    assert COUNTS.keys() <= headlines
    assert [name for name in headlines if "_" in COUNTS.get(name, name)] == []


@pytest.mark.parametrize(("rows", "words"), [(1, "1 epoch"), (0, "0 epochs"), (1234, "1,234 epochs")])
def test_rows_are_counted_in_words(rows: int, words: str) -> None:
    assert counted("history", rows) == words


@pytest.mark.parametrize(
    ("rows", "counts", "line"),
    [
        (40, {"epochs": 40, "best_epoch": 35, "valid_ndcg": 0.25},
         "40 epochs in 2.0 s · best epoch 35, valid NDCG@20 0.25"),
        (1, {"epochs": 0, "valid_ndcg": 0.25}, "done in 2.0 s · valid NDCG@20 0.25"),
    ],
    ids=["trained", "computed"],
)  # fmt: skip
def test_a_fit_is_summed_up_by_its_epochs(rows: int, counts: dict[str, float], line: str, tmp_path: Path) -> None:
    artifact = RunStore(str(tmp_path)).artifact("train.mf.s0", "abc")
    artifact.create()
    artifact.commit({"seconds": 2.0, "rows": {"history": rows}, "counts": counts})
    stage = PlannedStage(StageKey("train", "mf", 0), {}, artifact, load_config([], [f"run={tmp_path}"]))
    assert summary_line(stage) == f"train.mf.s0: {line}"
