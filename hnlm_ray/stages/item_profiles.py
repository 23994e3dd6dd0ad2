"""Let the language model write a profile of each item from the catalogue and train reviews."""

from __future__ import annotations

import functools

from hnlm_ray.language.engines.choose import engine_of
from hnlm_ray.language.engines.protocol import Engine
from hnlm_ray.language.generate import Request, generate
from hnlm_ray.language.profiled import items_to_profile
from hnlm_ray.language.requests import ItemRenderer
from hnlm_ray.language.verdicts import COUNTED, answer_counts, answered_rows
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]


def run(context: StageContext, engine: Engine | None = None) -> StageSummary:
    """Write ``item_profiles``: one row per item in ``profiles.scope``. An interrupted stage is resumed.

    Args:
        context: with the input ``prepare``.
        engine: instead of the one that the configuration names.

    Raises:
        StageError: more answers than ``llm.max_reject_rate`` were rejected.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    config, output, prepared = context.config, context.output, context.inputs["prepare"]
    warnings: tuple[str, ...] = ()
    if not output.has("item_profiles"):
        items = prepared.read("items")
        renderer = ItemRenderer(items, config.profiles, config.data.noun)
        request = Request(
            rows=items_to_profile(config, functools.partial(prepared.parts, "interactions", by="user"), len(items)),
            renderer=renderer,
            max_output_tokens=config.profiles.max_output_tokens,
            temperature=config.profiles.temperature,
            examples=renderer.examples,
        )
        written = generate(request, engine or engine_of(config.llm), config, output, context.say)
        warnings = written.warnings
        names = {"id": "item", "text": "summary"}
        output.write_parts("item_profiles", (part.rename_columns(names) for part in written.answers.parts()))
    counts = answer_counts(output.parts("item_profiles", COUNTED))
    return StageSummary({"item_profiles": answered_rows(counts)}, counts, warnings)
