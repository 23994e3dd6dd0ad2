"""The one configuration tree: defaults here, a YAML overlay, then ``key.path=value`` from the command line.

Every section is frozen and refuses unknown keys, naming the nearest valid one. A string under a field is its help.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from hnlm_ray.errors import ConfigError
from hnlm_ray.search import SearchConfig
from hnlm_ray.section import EngineKwargs, Fraction, Positive, Section
from hnlm_ray.serve_config import ServeConfig
from hnlm_ray.tune_config import EncodeConfig, TuneConfig
from hnlm_ray.variants import ITEM_ITEM, VariantConfig

__all__ = [
    "ClusterConfig",
    "ColumnsConfig",
    "Config",
    "DataConfig",
    "DemoWorldConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "GroundConfig",
    "HttpConfig",
    "LLMConfig",
    "NegativesConfig",
    "ProfilesConfig",
    "ServeConfig",
    "SplitConfig",
    "TrainConfig",
    "VariantConfig",
    "load_config",
]


class ColumnsConfig(Section):
    """Column names of a plain Parquet or CSV data set. ``null``: the data has no such column."""

    user: str = "user_id"
    item: str = "item_id"
    rating: str | None = "rating"
    timestamp: str | None = "timestamp"
    review: str | None = "review"
    split: str | None = "split"
    """Read only when ``data.split.strategy`` is ``column``."""
    title: str = "title"
    brand: str | None = "brand"
    categories: str | None = "categories"
    description: str | None = "description"


class SplitConfig(Section):
    """How interactions are divided into train, valid and test."""

    strategy: Literal["random", "leave_last_two", "global_time", "column"] = "random"
    """``random``: per user, 8:1:1 by default. ``leave_last_two``: last is test, the one before is valid.
    ``global_time``: two moments cut all users alike. ``column``: the data says."""
    valid: Fraction = 0.1
    test: Fraction = 0.1

    @model_validator(mode="after")
    def _leaves_train(self) -> SplitConfig:
        if self.valid + self.test >= 1.0:
            raise ValueError(f"valid + test is {self.valid + self.test:g}, which leaves nothing to train on")
        return self


class DemoWorldConfig(Section):
    """Size and seed of the generated catalogue."""

    users: Positive = 1000
    items: Positive = 480
    interactions: Positive = 20_000
    seed: int = 0


class DataConfig(Section):
    """Where raw data is, how it is read, filtered and split."""

    format: Literal["demo", "amazon2018", "amazon2023", "yelp", "movielens", "recbole", "table"] = "demo"
    path: str | None = None
    """Folder, local or ``s3://`` / ``gs://``. Not used by the generated ``demo`` data."""
    interactions: str | None = None
    """File or pattern inside ``path``; by default the format's usual names are looked for."""
    items: str | None = None
    columns: ColumnsConfig = ColumnsConfig()
    min_rating: float | None = None
    """Keep interactions rated at least this; unrated ones are kept."""
    date_from: date | None = None
    date_to: date | None = None
    """Date window, both ends included, in UTC."""
    k_core: int = Field(default=0, ge=0)
    """Drop users and items with fewer interactions, until none is left to drop."""
    max_history: Positive | None = None
    """Keep each user's latest so many interactions."""
    max_bad_rows: Fraction = 0.001
    """Share of malformed lines above which reading stops."""
    split: SplitConfig = SplitConfig()
    demo: DemoWorldConfig = DemoWorldConfig()

    @model_validator(mode="after")
    def _path_given(self) -> DataConfig:
        if self.format != "demo" and self.path is None:
            raise ValueError(f"format {self.format!r} needs data.path, the folder that holds the files")
        return self


class HttpConfig(Section):
    """An OpenAI-compatible endpoint, for ``llm.engine=http``."""

    url: str = "http://127.0.0.1:8000/v1"
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; the key itself never stands in a file."""
    concurrency: Positive = 16
    timeout_s: float = Field(default=120.0, gt=0)


class LLMConfig(Section):
    """The language model that writes profiles and negatives."""

    engine: Literal["vllm", "http", "scripted"] = "vllm"
    """``scripted`` answers without any model and is for tests."""
    model: str = "demo"
    """Hugging Face name or folder; ``demo`` is the small model that comes with the package."""
    replicas: Positive = 1
    tensor_parallel: Positive = 1
    accelerator: Literal["cpu", "gpu"] = "cpu"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    batch_size: Positive = 64
    """Rows that are made durable together, and the batch of the engine."""
    max_model_len: Positive = 2048
    """Tokens of a prompt and its answer together."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Options of the model's chat template, for example ``{enable_thinking: false}``."""
    engine_kwargs: EngineKwargs = Field(default_factory=dict)
    """Further vLLM engine arguments, passed as they are."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    retries: int = Field(default=1, ge=0)
    """Further passes over rows whose answer was rejected, at a higher temperature."""
    retry_temperature: float = Field(default=0.7, gt=0.0)
    """Least temperature of those passes."""
    max_reject_rate: Fraction = 0.05
    """Share of rows without a usable answer above which a stage fails."""
    cpu_kv_cache_gib: Positive = 1
    cpu_threads: Positive = 2
    """Threads of one engine on a CPU."""
    http: HttpConfig = HttpConfig()


class EmbedConfig(Section):
    """The model that turns text into vectors."""

    model: str = "demo"
    """Hugging Face name or folder of any model that vLLM pools; ``demo`` comes with the package."""
    engine: Literal["vllm", "scripted"] = "vllm"
    """``scripted`` hashes words without any model and is for tests."""
    pooling: Literal["auto", "mean", "last", "cls"] = "auto"
    """``auto``: as the model's own folder says; the mean of the tokens for a language model that says nothing."""
    replicas: Positive = 1
    accelerator: Literal["cpu", "gpu"] = "cpu"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "float32"
    batch_size: Positive = 64
    """Texts that are made durable together, and the batch of the engine."""
    max_model_len: Positive = 256
    """Tokens of a text; what is longer is cut."""
    cpu_kv_cache_gib: Positive = 1
    cpu_threads: Positive = 2
    """Threads of one engine on a CPU."""
    engine_kwargs: EngineKwargs = Field(default_factory=dict)
    """Further vLLM engine arguments, passed as they are."""


class ProfilesConfig(Section):
    """What goes into a profile prompt, and how long the answer may be."""

    scope: Literal["pairs", "all"] = "pairs"
    """``pairs``: users of a pair that ``negatives`` chooses, their latest purchases and the items of the pairs; nothing
    else is ever shown in a prompt. ``all``: every item and every user, so that other pairs can be chosen later without
    writing profiles again."""
    max_history: Positive = 20
    """Interactions shown of one user: the latest of the train split."""
    max_feedback: int = Field(default=3, ge=0)
    """Reviews shown of one item, from the train split."""
    max_description_chars: int = Field(default=600, ge=0)
    max_review_chars: int = Field(default=200, ge=0)
    max_profile_chars: int = Field(default=200, ge=0)
    """Characters of an item's profile shown in a user's prompt."""
    max_output_tokens: Positive = 192
    temperature: float = Field(default=0.0, ge=0.0)


class NegativesConfig(Section):
    """Which (user, item) pairs get a written negative, and how."""

    policy: Literal["all", "per_user", "budget"] = "per_user"
    per_user: Positive = 3
    budget: Positive = 10_000
    """Pairs in total, drawn evenly over the train pairs."""
    max_output_tokens: Positive = 96
    max_profile_chars: int = Field(default=400, ge=0)
    temperature: float = Field(default=0.8, ge=0.0)
    """Above 0, so that pairs of one user do not all get the same name."""


class GroundConfig(Section):
    """How the name that the model wrote is matched to the catalogue."""

    fuzzy: Fraction = 0.85
    """Least string similarity of the fuzzy step."""
    vector: Fraction = 0.6
    """Least cosine of the text-vector step."""


_VARIANTS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "hnlm": {"semantic": True, "alpha": 0.1, "contrastive_weight": 0.001},
}


class TrainConfig(Section):
    """The CF models to train."""

    workers: Positive = 1
    """Ray Train workers; users are divided over them."""
    accelerator: Literal["cpu", "gpu"] = "cpu"
    seeds: tuple[int, ...] = (0,)
    max_failures: int = Field(default=1, ge=0)
    """Restarts from the last checkpoint after a lost worker."""
    variants: dict[str, VariantConfig] = Field(
        default_factory=lambda: {name: VariantConfig(**options) for name, options in _VARIANTS.items()}
    )

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """The seeds that a variant is fitted with: one is enough where nothing is drawn."""
        return self.seeds if self.variants[variant].is_trained else self.seeds[:1]

    def first_fit(self, variant: str) -> str:
        """The stage that fits a variant with the first seed."""
        return f"train.{variant}.s{self.seeds_of(variant)[0]}"


class EvaluateConfig(Section):
    """Full ranking on held-out interactions."""

    cutoffs: tuple[Positive, ...] = (10, 20)
    user_block: Positive = 1024
    """Users of one piece of work. Fewer are scored at a time where the catalogue is large, so memory stays bounded."""
    trec: bool = True
    """Write the test rankings of every fit, and the held-out items, in TREC format."""


class ClusterConfig(Section):
    """The Ray cluster to run on."""

    address: str | None = None
    """``null``: a new local Ray (or the cluster of the job it runs in); ``auto`` or an address: that cluster."""
    num_cpus: Positive | None = None
    """Logical CPUs of a new local Ray; by default the machine's, and at least 4."""
    object_store_gib: float = Field(default=1.0, gt=0)


class Config(Section):
    """Everything a run depends on."""

    run: str = "runs/demo"
    """The run folder: a path or ``s3://``."""
    seed: int = 0
    data: DataConfig = DataConfig()
    llm: LLMConfig = LLMConfig()
    embed: EmbedConfig = EmbedConfig()
    profiles: ProfilesConfig = ProfilesConfig()
    negatives: NegativesConfig = NegativesConfig()
    ground: GroundConfig = GroundConfig()
    train: TrainConfig = TrainConfig()
    tune: TuneConfig = TuneConfig()
    encode: EncodeConfig = EncodeConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    search: SearchConfig = SearchConfig()
    serve: ServeConfig = ServeConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _served_variants_exist(self) -> Config:
        for option, name in (
            ("serve.variant", self.serve.variant),
            *(("serve.also", name) for name in self.serve.also),
        ):
            if name not in self.train.variants:
                known = ", ".join(sorted(self.train.variants))
                raise ValueError(f"{option} is {name!r}, train.variants has {known}")
            backbone = self.train.variants[name].backbone.name
            if backbone in ITEM_ITEM:
                raise ValueError(
                    f"{option}={name} is an item-item baseline ({backbone}), which the service cannot load yet:"
                    " serve another variant"
                )
        return self

    @model_validator(mode="after")
    def _teacher_is_trained(self) -> Config:
        teacher = self.tune.teacher
        able = [name for name, one in self.train.variants.items() if one.is_trained and not one.semantic]
        if teacher is not None and teacher not in able:
            known = ", ".join(able) or "none"
            raise ValueError(f"tune.teacher is {teacher!r}, variants trained without the language model: {known}")
        tuned = [name for name, one in self.train.variants.items() if one.is_tuned]
        if tuned and not able:
            raise ValueError(
                f"train.variants.{tuned[0]} uses a tuned encoder, which needs a teacher: add a variant that is trained"
                " without the language model"
            )
        return self


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration: defaults, then the YAML file, then the overrides.

    Args:
        path: a YAML file, or None for the defaults.
        overrides: ``key.path=value`` with the value in YAML, for example ``train.seeds=[0,1]``.

    Raises:
        ConfigError: with every problem found, each with its path.
    """
    tree: dict[str, Any] = {} if path is None else _read_yaml(Path(path))
    for override in overrides:
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        source = "the configuration" if path is None else str(path)
        problems = " | ".join(_explain(detail) for detail in error.errors())
        raise ConfigError(f"{source}: {problems}", "mend it or see `hnlm run --help`") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}", "see configs/ for those that exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", "give a readable YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}", "mend that line") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}, expected sections", "see configs/demo.yaml")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not key.path=value", "write for example train.workers=2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value in {override!r} is not YAML", "quote it") from error
    *parents, leaf = key.split(".")
    if parents[:2] == ["train", "variants"] and not (tree.get("train") or {}).get("variants"):
        # An override of one default variant adds to the defaults, it does not replace them.
        tree.setdefault("train", {})["variants"] = {name: dict(options) for name, options in _VARIANTS.items()}
    node = tree
    for part in parents:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {part!r} is a value, not a section", "give the section's keys")
    node[leaf] = value


def _explain(detail: Any) -> str:
    parts, beside = _place(detail["loc"])
    path = ".".join(parts)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(parts[-1], beside, n=1)
        hint = f", did you mean {near[0]!r}?" if near else f", there are {', '.join(beside)}"
        return f"unknown key {path!r}{hint}"
    if detail["type"] == "union_tag_invalid":
        return f"{path}: there is no {detail['ctx']['tag']!r}, there are {detail['ctx']['expected_tags']}"
    if detail["type"] == "union_tag_not_found":
        return f"{path}: has no name, expected for example {{name: ...}}"
    message = detail["msg"].removeprefix("Value error, ")
    given = detail["input"]
    shown = f" (got {given!r})" if not isinstance(given, dict | BaseModel) else ""
    return f"{path}: {message}{shown}" if path else f"{message}{shown}"


def _place(location: Sequence[Any]) -> tuple[list[str], list[str]]:
    """The path that a user writes for an error's location, and the keys that stand beside its last part."""
    parts: list[str] = []
    section: Any = Config
    beside: list[str] = []
    for part in map(str, location):
        if isinstance(section, UnionType):
            chosen = [kind for kind in typing.get_args(section) if _name_of(kind) == part]
            if chosen:  # pydantic names the member of a union, which a user does not write
                section = chosen[0]
                continue
        parts.append(part)
        beside = list(section.model_fields) if _is_section(section) else []
        if _is_section(section):
            field = section.model_fields.get(part)
            section = field.annotation if field else None
        else:  # a dict of sections, such as train.variants: the key is free, the value has a type
            section = (typing.get_args(section) or [None])[-1]
    return parts, beside


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _name_of(kind: Any) -> Any:
    return kind.model_fields["name"].default if _is_section(kind) and "name" in kind.model_fields else None
