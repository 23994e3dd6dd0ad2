"""Let the language model write a profile of each user from their interactions and item profiles."""

from __future__ import annotations

import functools

from hnlm_ray.language.engines.choose import engine_of
from hnlm_ray.language.engines.protocol import Engine
from hnlm_ray.language.generate import Request, generate
from hnlm_ray.language.profiled import users_to_profile
from hnlm_ray.language.requests import UserRenderer, profile_texts
from hnlm_ray.language.verdicts import COUNTED, answer_counts, answered_rows
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]


def run(context: StageContext, engine: Engine | None = None) -> StageSummary:
    """Write ``user_profiles``: one row per user in ``profiles.scope`` with a train row.

    An interrupted stage is resumed.

    An item whose profile is not ``ok`` is shown by title and categories only; ``items_without_profile`` counts them.

    Args:
        context: with the inputs ``prepare`` and ``item_profiles``.
        engine: instead of the one that the configuration names.

    Raises:
        StageError: more answers than ``llm.max_reject_rate`` were rejected.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    config, output, prepared = context.config, context.output, context.inputs["prepare"]
    items = prepared.read("items")
    item_profiles = context.inputs["item_profiles"].read("item_profiles", ["item", "summary", "status"])
    texts, without = profile_texts(item_profiles, "item", items.num_rows)
    warnings: tuple[str, ...] = ()
    if not output.has("user_profiles"):
        renderer = UserRenderer(items, texts, config.profiles, config.data.noun)
        request = Request(
            rows=users_to_profile(config, functools.partial(prepared.parts, "interactions", by="user"), len(items)),
            renderer=renderer,
            max_output_tokens=config.profiles.max_output_tokens,
            temperature=config.profiles.temperature,
            examples=renderer.examples,
        )
        written = generate(request, engine or engine_of(config.llm), config, output, context.say)
        warnings = written.warnings
        names = {"id": "user", "text": "summary"}
        output.write_parts("user_profiles", (part.rename_columns(names) for part in written.answers.parts()))
    counts = answer_counts(output.parts("user_profiles", COUNTED))
    rows = {"user_profiles": answered_rows(counts)}
    return StageSummary(rows, {**counts, "items_without_profile": without}, warnings)
