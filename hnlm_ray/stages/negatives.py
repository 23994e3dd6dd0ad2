"""Let the language model name a hard negative for every chosen pair, from the profiles of user and item."""

from __future__ import annotations

import functools

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.language.engines.choose import engine_of
from hnlm_ray.language.engines.protocol import Engine
from hnlm_ray.language.generate import Request, generate
from hnlm_ray.language.profiled import negatives_to_ask
from hnlm_ray.language.requests import NegativeRenderer, profile_texts, train_rows
from hnlm_ray.language.verdicts import COUNTED, answer_counts, answered_rows
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]


def run(context: StageContext, engine: Engine | None = None) -> StageSummary:
    """Write ``negatives``: one row per pair that ``negatives.policy`` chooses. An interrupted stage is resumed.

    A profile that is not ``ok`` is left out of the prompt; the counts say how many users and items have none.

    Args:
        context: with the inputs ``prepare``, ``item_profiles`` and ``user_profiles``, and ``neighbours.text`` where the
            model chooses among candidates.
        engine: instead of the one that the configuration names.

    Raises:
        ConfigError: there is no train pair.
        StageError: more answers than ``llm.max_reject_rate`` were rejected.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    config, output, prepared = context.config, context.output, context.inputs["prepare"]
    items = prepared.read("items")
    item_profiles = context.inputs["item_profiles"].read("item_profiles", ["item", "summary", "status"])
    item_texts, items_without = profile_texts(item_profiles, "item", len(items))
    user_profiles = functools.partial(context.inputs["user_profiles"].parts, "user_profiles")
    interactions = functools.partial(prepared.parts, "interactions", by="user")
    warnings: tuple[str, ...] = ()
    if not output.has("negatives"):
        neighbours = context.inputs["neighbours.text"].read("neighbours") if config.negatives.candidates else None
        request = Request(
            rows=negatives_to_ask(config, interactions, user_profiles, len(items), neighbours),
            renderer=NegativeRenderer(items, item_texts, config.negatives, config.data.noun),
            max_output_tokens=config.negatives.max_output_tokens,
            temperature=config.negatives.temperature,
        )
        written = generate(request, engine or engine_of(config.llm), config, output, context.say)
        warnings = written.warnings
        output.write_parts("negatives", (_with_pair(part, len(items)) for part in written.answers.parts()))
    answered = answer_counts(output.parts("negatives", COUNTED))
    counts = {
        **answered,
        "train_pairs": sum(train_rows(part).num_rows for part in prepared.parts("interactions", ["split"])),
        "items_without_profile": items_without,
        "users_without_profile": sum(_unusable(part) for part in user_profiles(["status"])),
    }
    return StageSummary({"negatives": answered_rows(answered)}, counts, warnings)


def _with_pair(answers: pa.Table, n_items: int) -> pa.Table:
    """Answers with the user and the item of their pair."""
    pair = answers["id"].to_numpy()
    for key, numbers in (("user", pair // n_items), ("item", pair % n_items)):
        answers = answers.append_column(key, pa.array(numbers, pa.int32()))
    return answers.rename_columns({"id": "pair", "text": "answer"})


def _unusable(profiles: pa.Table) -> int:
    return int(profiles.filter(pc.not_equal(profiles["status"], "ok")).num_rows)
