"""Let the language model write a profile of each item from the catalogue and train reviews."""

from __future__ import annotations

from hnlm_ray.language.engines.choose import engine_of
from hnlm_ray.language.engines.protocol import Engine
from hnlm_ray.language.generate import COUNTED, Request, answer_counts, generate
from hnlm_ray.language.profiled import items_to_profile
from hnlm_ray.language.requests import ItemRenderer
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
            rows=items_to_profile(config, prepared.read("interactions"), items.num_rows),
            renderer=renderer,
            max_output_tokens=config.profiles.max_output_tokens,
            temperature=config.profiles.temperature,
            examples=renderer.examples,
        )
        written = generate(request, engine or engine_of(config.llm), config, output, context.say)
        warnings = written.warnings
        output.write("item_profiles", written.answers.rename_columns({"id": "item", "text": "summary"}))
    profiles = output.read("item_profiles", COUNTED)
    return StageSummary({"item_profiles": profiles.num_rows}, answer_counts(profiles), warnings)
