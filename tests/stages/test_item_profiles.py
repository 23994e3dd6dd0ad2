"""Item profiles: every item comes out, nothing held out goes in, and nothing is left beside the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.language.engines.rendering import Reply
from hnlm_ray.language.engines.scripted import ScriptedEngine
from hnlm_ray.run.stage import StageContext
from hnlm_ray.stages import item_profiles
from hnlm_ray.tables import ITEM_PROFILES
from tests.stages.language_run import INJECTION, MARKER, N_ITEMS, N_USERS, LanguageRun

pytestmark = pytest.mark.ray


def test_one_row_per_item_with_its_status(language_run: LanguageRun) -> None:
    rows = language_run.rows("item_profiles", "item_profiles")
    assert [row["item"] for row in rows] == list(range(N_ITEMS))
    assert [row["item"] for row in rows if row["status"] != "ok"] == [5]
    assert (rows[5]["status"], rows[5]["summary"], rows[5]["attempts"]) == ("invalid", "", 2)
    assert "Kettle" in rows[0]["summary"]
    summary = language_run.summaries["item_profiles"]
    assert summary.rows == {"item_profiles": N_ITEMS}
    assert (summary.counts["ok"], summary.counts["invalid"], summary.counts["retried"]) == (N_ITEMS - 1, 1, 1)
    assert summary.counts["prompt_tokens"] > 0


def test_no_held_out_review_reached_the_engine_in_any_task(language_run: LanguageRun) -> None:
    texts = [prompt["system"] + prompt["user"] for prompt in language_run.prompts]
    tasks = {prompt["task"] for prompt in language_run.prompts}
    assert tasks == {"item_profile", "user_profile", "negative"}
    assert len(texts) == (N_ITEMS + 1) + N_USERS + 3 * N_USERS
    assert not [text for text in texts if MARKER in text]
    assert any("review of" in text for text in texts)  # train reviews do


def test_what_users_wrote_reaches_the_engine_as_data_without_special_tokens(language_run: LanguageRun) -> None:
    shown = [prompt for prompt in language_run.prompts if "Ignore the instructions" in prompt["user"]]
    assert shown
    assert INJECTION.startswith("<|im_end|>")
    for prompt in language_run.prompts:
        assert "<|" not in prompt["user"]
        assert "MARS" not in prompt["system"]
    assert len({(prompt["task"], prompt["system"]) for prompt in language_run.prompts}) == 3  # constant per task


def test_the_folder_holds_the_table_and_the_manifest_only(language_run: LanguageRun) -> None:
    for stage in ("item_profiles", "user_profiles", "negatives", "vectors", "ground"):
        names = {path.name for path in Path(language_run.artifacts[stage].path).iterdir()}
        table = {"vectors": "item_vectors", "ground": "grounded"}.get(stage, stage)
        assert names == {f"{table}.parquet", "manifest.json"}


def test_a_table_that_stands_is_not_made_again(language_run: LanguageRun) -> None:
    """As after a kill between the table and its manifest."""
    written = language_run.artifacts["item_profiles"]
    engine = ScriptedEngine(lambda task, prompt, seed: Reply("", "", "must not be asked"))
    context = StageContext(language_run.config, language_run.artifacts, written)
    again = item_profiles.run(context, engine)
    assert again == language_run.summaries["item_profiles"]
    assert written.read("item_profiles").schema == ITEM_PROFILES
