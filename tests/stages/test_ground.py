"""Grounding in the pipeline: shares that add up, and no engine where every name is known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.config.language import GroundConfig
from hnlm_ray.errors import StageError
from hnlm_ray.language.engines.scripted import ScriptedEmbedder
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import RunStore
from hnlm_ray.stages import ground
from tests.stages.language_run import N_USERS, LanguageRun

pytestmark = pytest.mark.ray


def test_every_negative_is_grounded_and_the_shares_add_up(language_run: LanguageRun) -> None:
    rows = language_run.rows("ground", "grounded")
    negatives = language_run.rows("negatives", "negatives")
    assert [row["pair"] for row in rows] == [row["pair"] for row in negatives]
    counts = language_run.summaries["ground"].counts
    seen = Counter(row["status"] for row in rows)
    assert {status: counts[status] for status in seen} == dict(seen)
    assert seen.total() == 3 * N_USERS
    assert {row["step"] for row in rows} >= {"exact", "fuzzy", ""}  # the script writes names in each of these ways
    assert sum(counts[f"by_{step}"] for step in ("exact", "fuzzy", "vector")) == seen["matched"] + seen["interacted"]


def test_a_matched_item_is_never_one_that_the_user_has(language_run: LanguageRun) -> None:
    interactions = language_run.rows("prepare", "interactions")
    train = {(row["user"], row["item"]) for row in interactions if row["split"] == "train"}
    rows = [row for row in language_run.rows("ground", "grounded") if row["negative"] is not None]
    assert {row["status"] for row in rows} == {"matched", "interacted"}
    for row in rows:
        assert ((row["user"], row["negative"]) in train) == (row["status"] == "interacted")


def test_no_engine_is_started_where_every_name_is_known(language_run: LanguageRun, tmp_path: Path) -> None:
    class Forbidden(ScriptedEmbedder):
        def embed(self, texts: Any) -> Any:
            raise AssertionError("an engine was started for nothing")

    summary = grounded_names(language_run, tmp_path, ["None", "Red Kettle number 0"], Forbidden())
    assert summary.counts["embedded_names"] == 0
    assert summary.counts["none"] == summary.rows["grounded"] / 2
    assert not summary.warnings


def grounded_names(
    language_run: LanguageRun, folder: Path, names: list[str], embedder: ScriptedEmbedder, **options: float
) -> StageSummary:
    """What the stage says of a run whose model wrote these names in turn."""
    store = RunStore(str(folder))
    negatives = store.artifact("negatives", "known")
    negatives.create()
    table = language_run.artifacts["negatives"].read("negatives")
    answers = (names * table.num_rows)[: table.num_rows]
    negatives.write("negatives", table.set_column(3, "answer", [answers]))
    output = store.artifact("ground", "known")
    output.create()
    config = language_run.config.model_copy(update={"ground": GroundConfig(**options)})
    artifacts = {**language_run.artifacts, "negatives": negatives}
    return ground.run(StageContext(config, artifacts, output), embedder)


def test_names_that_the_catalogue_lacks_stop_the_run(language_run: LanguageRun, tmp_path: Path) -> None:
    names = [*("Quantum Flux", "Zyx") * 7, *["None"] * 5, "Red Kettle number 0"]
    with pytest.raises(StageError) as caught:
        grounded_names(language_run, tmp_path / "a", names, ScriptedEmbedder())
    assert "fewer than ground.min_matched=0.1; use a language model that knows" in str(caught.value)
    assert "name an item of the catalogue" in str(caught.value)
    summary = grounded_names(language_run, tmp_path / "b", names, ScriptedEmbedder(), min_matched=0.01)
    (warning,) = summary.warnings
    assert f"{summary.counts['out_of_catalogue']} name something else and {summary.counts['none']} nothing" in warning
