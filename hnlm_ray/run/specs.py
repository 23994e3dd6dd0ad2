"""Every kind of stage, described once: plan, fingerprints, resuming, progress and job scripts derive from it.

A new stage is an entry of :data:`SPECS` and a module of the same name in :mod:`hnlm_ray.stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from typing import Any

from hnlm_ray.config.serving import BEST
from hnlm_ray.config.tree import Config
from hnlm_ray.run import dependencies
from hnlm_ray.run.stage import StageKey, first_fit, fits_of, teacher_fits
from hnlm_ray.run.trials import searched, studied

__all__ = ["SPECS", "StageSpec", "goals", "planned_kinds", "with_inputs"]

Reads = Callable[[Config, StageKey], Iterable[StageKey]]


@dataclass(frozen=True)
class StageSpec:
    """One kind of stage.

    Attributes:
        kind: its name, and that of its module in ``hnlm_ray.stages``.
        about: what it does, as one sentence without a full stop.
        reads: the stages that a stage of this kind reads.
        depends_on: what its result depends on besides these: the rest of its fingerprint.
        writes: the tables that it may write.
        headlines: counts worth a place on its summary line, in this order.
        version: raised when the code changes what it writes, so that old results are not reused.
        resumes: whether it goes on from what an interrupted run left; otherwise it starts from an empty folder.
    """

    kind: str
    about: str
    reads: Reads
    depends_on: Callable[[Config, StageKey], Mapping[str, Any]] = dependencies.nothing
    writes: tuple[str, ...] = ()
    headlines: tuple[str, ...] = ()
    version: int = 1
    resumes: bool = False


_ANSWERS = ("ok", "invalid", "truncated", "failed", "prompt_tokens", "output_tokens")
_SHOWN = ("item_profiles", "user_profiles", "vectors", "negatives", "ground")
"""Kinds whose artifacts go into a bundle, where a run has them."""


def _keys(*kinds: str) -> list[StageKey]:
    return [StageKey(kind) for kind in kinds]


def _always(*kinds: str) -> Reads:
    return lambda config, key: _keys(*kinds)


def _teacher(config: Config) -> StageKey:
    """The fit whose vectors supervise the encoder."""
    assert config.teacher is not None  # the configuration has checked it
    return first_fit(config.train, config.teacher)


def _tokens(config: Config, key: StageKey) -> Iterable[StageKey]:
    return _keys("prepare", *(("item_profiles", "user_profiles") if config.tune.texts == "profiles" else ()))


def _supervise(config: Config, key: StageKey) -> Iterable[StageKey]:
    answers = ("ground",) if config.tune.supervision.strategy == "answer" else ()
    return [*_keys("prepare", "vectors", *answers), _teacher(config)]


def _tune(config: Config, key: StageKey) -> Iterable[StageKey]:
    return [*_keys("prepare", "supervise", "tokens"), _teacher(config)]


def _encode(config: Config, key: StageKey) -> Iterable[StageKey]:
    if config.tune.keep is not None:
        return _keys("prepare", "vectors", "tokens", "fold_in")
    return [*_keys("prepare", "vectors", "tokens", "tune"), _teacher(config)]


def _negatives(config: Config, key: StageKey) -> Iterable[StageKey]:
    candidates = [StageKey("neighbours", "text")] if config.negatives.candidates else []
    return [*_keys("prepare", "item_profiles", "user_profiles"), *candidates]


def _vectors(config: Config, key: StageKey) -> Iterable[StageKey]:
    return _keys("prepare", *(("item_profiles",) if key.variant == "profiled" else ()))


_VECTORS_OF = {"text": StageKey("vectors"), "tuned": StageKey("encode")}
"""The stage whose vectors neighbours are near by, for sources that have no stage ``vectors`` of their own name."""


def _neighbours(config: Config, key: StageKey) -> Iterable[StageKey]:
    source = str(key.variant)
    if source in ("categories", "random"):
        return _keys("prepare")
    return [*_keys("prepare"), _VECTORS_OF.get(source, StageKey("vectors", source))]


def _guard(config: Config, key: StageKey) -> Iterable[StageKey]:
    reads = dict.fromkeys(_keys("prepare"))
    for source in config.guards[str(key.variant)].sources:
        reads |= dict.fromkeys(teacher_fits(config.train, source))
        if source.neighbours is not None:
            reads[StageKey("neighbours", source.neighbours)] = None
        if source.answers:
            reads[StageKey("ground")] = None
    return reads


def _variant_inputs(config: Config, names: Iterable[str]) -> list[StageKey]:
    """The stages that some variants read besides ``prepare``."""
    chosen = [config.train.variants[name] for name in names]
    answers = any(variant.semantic and not variant.is_tuned for variant in chosen)
    needs = {
        "vectors": answers or any(variant.reads_text_vectors for variant in chosen),
        "ground": answers,
        "encode": any(variant.is_tuned for variant in chosen),
    }
    graphs = dict.fromkeys(variant.item_graph.source for variant in chosen if variant.item_graph)
    guards = dict.fromkeys(variant.guard.table for variant in chosen if variant.guard)
    members = dict.fromkeys(key for variant in chosen for part in variant.backbone.joins for key in fits_of(part))
    return [
        *_keys(*(kind for kind, is_needed in needs.items() if is_needed)),
        *(StageKey("neighbours", source) for source in graphs),
        *(StageKey("guard", name) for name in guards),
        *members,
    ]


def _train(config: Config, key: StageKey) -> Iterable[StageKey]:
    return [*_keys("prepare"), *_variant_inputs(config, [str(key.variant)])]


def _fits(config: Config, variants: Iterable[str]) -> list[StageKey]:
    return [StageKey("train", name, seed) for name in variants for seed in config.train.seeds_of(name)]


def _before_evaluation(config: Config) -> list[StageKey]:
    """Every stage that some fit needs, besides ``prepare`` and the fits."""
    needed = with_inputs(config, _fits(config, config.train.variants))
    return [key for key in needed if key.kind not in ("prepare", "train")]


def _evaluate(config: Config, key: StageKey) -> Iterable[StageKey]:
    kinds = ("vectors", "ground", "encode", "guard")
    judged = [key for key in _before_evaluation(config) if key.kind in kinds]
    return [*_keys("prepare"), *judged, *_fits(config, config.train.variants)]


def _report(config: Config, key: StageKey) -> Iterable[StageKey]:
    fits = _fits(config, config.train.variants)
    return [*_keys("prepare"), *_before_evaluation(config), *fits, *_keys("evaluate")]


def _bundle(config: Config, key: StageKey) -> Iterable[StageKey]:
    """Which variant is the best is known after the evaluation, so its bundle reads every fit that can be served."""
    shown = [key for key in _before_evaluation(config) if key.kind in _SHOWN]
    variants = config.servable if key.variant == BEST else (str(key.variant),)
    return [*_keys("prepare"), *shown, *_fits(config, variants), *_keys("evaluate")]


def _search(config: Config, key: StageKey) -> Iterable[StageKey]:
    return [*_keys("prepare"), *_variant_inputs(config, searched(config))]


def _study(config: Config, key: StageKey) -> Iterable[StageKey]:
    return [*_keys("prepare"), *_variant_inputs(config, studied(config))]


_ALL = (
    StageSpec(
        "prepare", "Read, filter and split the raw data", _always(), dependencies.raw_data,
        ("users", "items", "interactions", "item_features", "user_features", "truth"),
        ("users", "items", "interactions"), version=2,
    ),
    StageSpec(
        "item_profiles", "Let the language model write who would enjoy each item",
        _always("prepare"), partial(dependencies.profiles, "item_profile"), ("item_profiles",), _ANSWERS, version=3,
        resumes=True,
    ),
    StageSpec(
        "user_profiles", "Let the language model describe the taste of each user",
        _always("prepare", "item_profiles"), partial(dependencies.profiles, "user_profile"),
        ("user_profiles",), _ANSWERS, version=3, resumes=True,
    ),
    StageSpec(
        "negatives", "Let the language model name a hard negative for each chosen pair",
        _negatives, dependencies.negatives, ("negatives",), _ANSWERS, version=3, resumes=True,
    ),
    StageSpec(
        "vectors", "Turn the text of each item into a vector",
        _vectors, dependencies.embedding, ("item_vectors",), resumes=True,
    ),
    StageSpec(
        "ground", "Match the names that the language model wrote to items of the catalogue",
        _always("prepare", "vectors", "negatives"), dependencies.grounding, ("grounded",),
        ("matched", "interacted", "out_of_catalogue", "none"), version=2, resumes=True,
    ),
    StageSpec(
        "neighbours", "Find the nearest items of every item",
        _neighbours, dependencies.neighbours, ("neighbours",), ("neighbours",),
    ),
    StageSpec(
        "guard", "Find unseen items that users would probably like, by a blend of teachers",
        _guard, dependencies.guard, ("guard",), ("users", "guarded"),
    ),
    StageSpec(
        "train", "Fit every variant with every seed", _train, dependencies.fit, ("history",),
        ("best_epoch", "valid_ndcg", "pairs_with_vector"), version=3, resumes=True,
    ),
    StageSpec(
        "tokens", "Turn the texts of users and items into tokens of the model to tune",
        _tokens, dependencies.tokens, ("user_tokens", "item_tokens"), ("tokens",),
    ),
    StageSpec(
        "fold_in", "Give new users and items vectors in the space of an earlier run's teacher",
        _always("prepare"), dependencies.kept,
    ),
    StageSpec(
        "supervise", "Choose the hard negative that the encoder is tuned to emit for each train pair",
        _supervise, dependencies.supervision, ("supervision",), ("ok",),
    ),
    StageSpec(
        "tune", "Tune the encoder to emit hard negatives",
        _tune, dependencies.tuning, ("tuning",), ("best_epoch",), version=2, resumes=True,
    ),
    StageSpec(
        "encode", "Run the tuned encoder over the pairs",
        _encode, dependencies.encoding, ("encoded", "encoded_items"), ("tokens", "cached_tokens"),
        version=3, resumes=True,
    ),
    StageSpec(
        "evaluate", "Rank the whole catalogue for every user with held-out interactions",
        _evaluate, dependencies.evaluation,
        ("metrics", "user_metrics", "strata", "false_negatives", "guard_likes"), version=5,
    ),
    StageSpec("report", "Write the report as one page", _report, version=3),
    StageSpec(
        "bundle", "Make what is served of the best fit of each served variant", _bundle, dependencies.bundle,
        ("users", "items", "item_profiles", "user_profiles", "negatives"), version=4,
    ),
    StageSpec(
        "search", "Search hyper-parameters, after whatever the trials read",
        _search, dependencies.trials, ("trials",), ("ok", "stopped", "cut", "failed"), version=3, resumes=True,
    ),
    StageSpec(
        "study", "Tune every variant with the same number of trials and compare them over several seeds",
        _study, dependencies.study, ("study", "study_fits", "user_metrics"), ("fits", "failed"), resumes=True,
    ),
)  # fmt: skip

SPECS: Mapping[str, StageSpec] = {spec.kind: spec for spec in _ALL}
"""By kind, in the order in which they run where nothing else decides it."""

_ORDER = {kind: place for place, kind in enumerate(SPECS)}


def goals(config: Config) -> list[StageKey]:
    """What a run is for; the rest is what these read."""
    fits = _fits(config, config.train.variants)
    return [*fits, StageKey("report"), *(StageKey("bundle", variant) for variant in config.served)]


def planned_kinds(config: Config) -> set[str]:
    """The kinds of stages that a configuration asks for; neither files nor models are looked at."""
    return {key.kind for key in with_inputs(config, goals(config))}


def with_inputs(config: Config, wanted: Iterable[StageKey]) -> list[StageKey]:
    """Some stages and everything that they read, inputs first and otherwise in the order of :data:`SPECS`."""
    reads: dict[StageKey, list[StageKey]] = {}
    queue = list(wanted)
    for key in queue:
        if key not in reads:
            reads[key] = list(SPECS[key.kind].reads(config, key))
            queue += reads[key]
    sorter = TopologicalSorter(reads)
    sorter.prepare()
    found: list[StageKey] = []
    ready: list[StageKey] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=lambda key: (-_ORDER[key.kind], -queue.index(key)))
        found.append(ready.pop())
        sorter.done(found[-1])
    return found
