"""Every kind of stage, described once: plan, fingerprints, resuming, progress and job scripts derive from it.

A new stage is an entry of :data:`SPECS` and a module of the same name in :mod:`hnlm_ray.stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from hnlm_ray.config.tree import Config
from hnlm_ray.run import dependencies
from hnlm_ray.run.stage import StageKey, first_fit
from hnlm_ray.run.trials import searched

__all__ = ["SPECS", "StageSpec", "goals", "variant_inputs", "with_inputs"]

Reads = Callable[[Config, StageKey], Iterable[StageKey]]


def _nothing(config: Config, key: StageKey) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class StageSpec:
    """One kind of stage.

    Attributes:
        kind: its name, and that of its module in ``hnlm_ray.stages``.
        about: what it does, as one sentence without a full stop.
        reads: the stages that a stage of this kind reads.
        depends_on: what its result depends on besides these: the rest of its fingerprint, as JSON values.
        arguments: of the ``run`` of its module, besides the context.
        writes: the tables that it writes.
        headlines: counts worth a place on its summary line, in this order.
        version: raised when the code changes what it writes, so that old results are not reused.
        resumes: whether it goes on from what an interrupted run left; otherwise it starts from an empty folder.
        asks_model: whether a language model, or a text encoder, does its work.
    """

    kind: str
    about: str
    reads: Reads
    depends_on: Callable[[Config, StageKey], Mapping[str, Any]] = _nothing
    arguments: Callable[[Config, StageKey], Mapping[str, Any]] = _nothing
    writes: tuple[str, ...] = ()
    headlines: tuple[str, ...] = ()
    version: int = 1
    resumes: bool = False
    asks_model: bool = False


_PREPARE = StageKey("prepare")
_ANSWERS = ("ok", "invalid", "truncated", "failed", "prompt_tokens", "output_tokens")
_ENCODER = ("item_profiles", "user_profiles", "vectors", "negatives", "ground")
"""Kinds whose artifacts go into a bundle, where a run has them."""


def _keys(*kinds: str) -> Reads:
    return lambda config, key: [StageKey(kind) for kind in kinds]


def _teacher(config: Config) -> StageKey:
    """The fit whose vectors supervise the encoder."""
    return first_fit(config.train, _teacher_name(config))


def _teacher_name(config: Config) -> str:
    name = config.tune.teacher_of(config.train.variants)
    assert name is not None  # the configuration has checked it
    return name


def _teacher_argument(config: Config, key: StageKey) -> Mapping[str, Any]:
    return {"teacher": _teacher_name(config)}


def _tokens(config: Config, key: StageKey) -> Iterable[StageKey]:
    profiles = ("item_profiles", "user_profiles") if config.tune.texts == "profiles" else ()
    return [StageKey(kind) for kind in ("prepare", *profiles)]


def _supervise(config: Config, key: StageKey) -> Iterable[StageKey]:
    answers = ["ground"] if config.tune.supervision.strategy == "answer" else []
    return [*(StageKey(kind) for kind in ("prepare", "vectors", *answers)), _teacher(config)]


def _encode(config: Config, key: StageKey) -> Iterable[StageKey]:
    shared = [StageKey(kind) for kind in ("prepare", "vectors", "tokens")]
    if config.tune.keep is not None:
        return [*shared, StageKey("fold_in")]
    return [*shared, StageKey("tune"), _teacher(config)]


def variant_inputs(config: Config, names: Iterable[str]) -> tuple[str, ...]:
    """The kinds of stages that some variants read besides ``prepare``."""
    chosen = [config.train.variants[name] for name in names]
    answers = any(variant.semantic and not variant.is_tuned for variant in chosen)
    needs = {
        "vectors": answers or any(variant.item_text for variant in chosen),
        "ground": answers,
        "encode": any(variant.is_tuned for variant in chosen),
    }
    return tuple(kind for kind, is_needed in needs.items() if is_needed)


def _train(config: Config, key: StageKey) -> Iterable[StageKey]:
    assert key.variant is not None
    return [_PREPARE, *(StageKey(kind) for kind in variant_inputs(config, [key.variant]))]


def _fits(config: Config, variants: Iterable[str]) -> list[StageKey]:
    train = config.train
    return [StageKey("train", name, seed) for name in variants for seed in train.seeds_of(name)]


def _before_evaluation(config: Config) -> list[StageKey]:
    """Every stage that some fit needs, besides ``prepare`` and the fits."""
    needed = with_inputs(config, _fits(config, config.train.variants))
    return [key for key in needed if key.kind not in ("prepare", "train")]


def _evaluate(config: Config, key: StageKey) -> Iterable[StageKey]:
    judged = [key for key in _before_evaluation(config) if key.kind in ("vectors", "ground", "encode")]
    return [_PREPARE, *judged, *_fits(config, config.train.variants)]


def _report(config: Config, key: StageKey) -> Iterable[StageKey]:
    fits = _fits(config, config.train.variants)
    return [_PREPARE, *_before_evaluation(config), *fits, StageKey("evaluate")]


def _bundle(config: Config, key: StageKey) -> Iterable[StageKey]:
    assert key.variant is not None
    shown = [key for key in _before_evaluation(config) if key.kind in _ENCODER]
    return [_PREPARE, *shown, *_fits(config, [key.variant]), StageKey("evaluate")]


def _search(config: Config, key: StageKey) -> Iterable[StageKey]:
    names = searched(config.search, config.train.variants)
    return [_PREPARE, *(StageKey(kind) for kind in variant_inputs(config, names))]


_ALL = (
    StageSpec(
        "prepare",
        "Read, filter and split the raw data",
        reads=lambda config, key: (),
        depends_on=lambda config, key: dependencies.prepared(config),
        writes=("users", "items", "interactions", "truth"),
        headlines=("users", "items", "interactions"),
    ),
    StageSpec(
        "item_profiles",
        "Let the language model write who would enjoy each item",
        reads=_keys("prepare"),
        depends_on=lambda config, key: dependencies.written_profiles(config, "item_profile"),
        writes=("item_profiles",),
        headlines=_ANSWERS,
        resumes=True,
        asks_model=True,
    ),
    StageSpec(
        "user_profiles",
        "Let the language model describe the taste of each user",
        reads=_keys("prepare", "item_profiles"),
        depends_on=lambda config, key: dependencies.written_profiles(config, "user_profile"),
        writes=("user_profiles",),
        headlines=_ANSWERS,
        resumes=True,
        asks_model=True,
    ),
    StageSpec(
        "vectors",
        "Turn the text of each item into a vector",
        reads=_keys("prepare"),
        depends_on=lambda config, key: dependencies.embedding(config),
        writes=("item_vectors",),
        resumes=True,
        asks_model=True,
    ),
    StageSpec(
        "negatives",
        "Let the language model name a hard negative for each chosen pair",
        reads=_keys("prepare", "item_profiles", "user_profiles"),
        depends_on=lambda config, key: dependencies.writing(config, "negative", config.negatives),
        writes=("negatives",),
        headlines=_ANSWERS,
        resumes=True,
        asks_model=True,
    ),
    StageSpec(
        "ground",
        "Match the names that the language model wrote to items of the catalogue",
        reads=_keys("prepare", "vectors", "negatives"),
        depends_on=lambda config, key: {
            **dependencies.embedding(config),
            "ground": config.ground.model_dump(mode="json"),
        },
        writes=("grounded",),
        headlines=("matched", "interacted", "out_of_catalogue", "none"),
        resumes=True,
        asks_model=True,
    ),
    StageSpec(
        "train",
        "Fit every variant with every seed",
        reads=_train,
        depends_on=lambda config, key: {
            "variant": config.train.variants[str(key.variant)].model_dump(mode="json"),
            "seed": key.seed,
        },
        arguments=lambda config, key: {"variant": key.variant, "seed": key.seed},
        writes=("history",),
        headlines=("best_epoch", "valid_ndcg", "pairs_with_vector"),
        version=3,
        resumes=True,
    ),
    StageSpec(
        "tokens",
        "Turn the texts of users and items into tokens of the model to tune",
        reads=_tokens,
        depends_on=lambda config, key: dependencies.token_texts(config),
        writes=("user_tokens", "item_tokens"),
        headlines=("tokens",),
    ),
    StageSpec(
        "fold_in",
        "Give new users and items vectors in the space of an earlier run's teacher",
        reads=_keys("prepare"),
        depends_on=lambda config, key: dependencies.kept(config),
    ),
    StageSpec(
        "supervise",
        "Choose the hard negative that the encoder is tuned to emit for each train pair",
        reads=_supervise,
        depends_on=lambda config, key: dependencies.supervision(config),
        arguments=_teacher_argument,
        writes=("supervision",),
        headlines=("ok",),
    ),
    StageSpec(
        "tune",
        "Tune the encoder to emit hard negatives",
        reads=lambda config, key: [*_keys("prepare", "supervise", "tokens")(config, key), _teacher(config)],
        depends_on=lambda config, key: dependencies.tuning(config),
        arguments=_teacher_argument,
        writes=("tuning",),
        headlines=("best_epoch",),
        version=2,
        resumes=True,
    ),
    StageSpec(
        "encode",
        "Run the tuned encoder over the pairs",
        reads=_encode,
        depends_on=lambda config, key: dependencies.encoding(config),
        arguments=_teacher_argument,
        writes=("encoded",),
        headlines=("tokens", "cached_tokens"),
        version=2,
        resumes=True,
    ),
    StageSpec(
        "evaluate",
        "Rank the whole catalogue for every user with held-out interactions",
        reads=_evaluate,
        depends_on=lambda config, key: {
            "cutoffs": config.evaluate.cutoffs,
            "trec": config.evaluate.trec,
            "tune": config.tune.model_dump(mode="json", include={"teacher", "supervision"}),
        },
        writes=("metrics", "user_metrics", "strata", "false_negatives"),
        version=4,
    ),
    StageSpec("report", "Write the report as one page", reads=_report, version=2),
    StageSpec(
        "bundle",
        "Make what is served of the best fit of each served variant",
        reads=_bundle,
        depends_on=lambda config, key: {"variant": key.variant, "text_encoder_mib": config.serve.text_encoder_mib},
        arguments=lambda config, key: {"variant": key.variant},
        version=2,
    ),
    StageSpec(
        "search",
        "Search hyper-parameters, after whatever the trials read",
        reads=_search,
        depends_on=lambda config, key: dependencies.searching(config),
        writes=("trials",),
        headlines=("ok", "failed"),
        resumes=True,
    ),
)

SPECS: Mapping[str, StageSpec] = {spec.kind: spec for spec in _ALL}
"""By kind, in the order in which they run where nothing else decides it."""

_ORDER = {kind: place for place, kind in enumerate(SPECS)}


def goals(config: Config) -> list[StageKey]:
    """What a run is for; the rest is what these read."""
    served = (config.serve.variant, *config.serve.also)
    fits = _fits(config, config.train.variants)
    return [*fits, StageKey("report"), *(StageKey("bundle", variant) for variant in served)]


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
