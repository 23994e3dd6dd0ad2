"""The language models and what they write: sections ``llm``, ``embed``, ``profiles``, ``negatives`` and ``ground``."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from hnlm_ray.config.resources import EngineOptions
from hnlm_ray.config.section import Fraction, ModelName, Positive, Section

__all__ = [
    "AnswerOptions",
    "EmbedConfig",
    "GroundConfig",
    "HttpConfig",
    "LLMConfig",
    "NegativesConfig",
    "ProfilesConfig",
]


def _address(url: str) -> str:
    parts = urlsplit(url)  # raises ValueError, as does .port
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or not url.isprintable():
        raise ValueError("give an address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise ValueError("an address holds no user or password; name the variable of the key in llm.http.api_key_env")
    return url


_OURS = frozenset({"messages", "model", "n", "stream"})
"""Fields of a request that the engine alone decides."""


def _sendable(fields: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"every value must be one that JSON has ({error})") from error
    return fields


def _addition(fields: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(_OURS & fields.keys()):
        raise ValueError(f"{', '.join(taken)} cannot be changed; the engine sets it")
    return _sendable(fields)


class HttpConfig(Section):
    """An OpenAI-compatible endpoint, for ``llm.engine=http``."""

    url: Annotated[str, AfterValidator(_address)] = "http://127.0.0.1:8000/v1"
    """Base address, to which ``/chat/completions`` is appended."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; the key itself is never written to a file."""
    concurrency: Positive = 16
    """Requests under way at a time."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for one whole answer, after which the request is repeated."""
    patience_s: float = Field(default=300.0, gt=0)
    """Seconds without a single answer, after some, until a stage gives up on a server that fails or asks to wait."""
    response_format: Literal["auto", "json_schema", "json_object", "none"] = "auto"
    """How the server is told the form of an answer. ``auto`` sends the JSON schema, and less where it is refused."""
    max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """The field for the limit of an answer. ``auto`` sends ``max_tokens``, and the other where it is refused."""
    extra_body: Annotated[dict[str, Any], AfterValidator(_addition)] = Field(default_factory=dict)
    """Further fields of each request; null drops one that is sent otherwise, such as ``{seed: null}``."""


class LLMConfig(EngineOptions):
    """The language model that writes profiles and negatives."""

    engine: Literal["vllm", "http", "scripted"] = "vllm"
    """``scripted`` answers without any model and is for tests."""
    model: ModelName = ""
    """Hugging Face name or folder, or the endpoint's name for it. Empty: none; on the demo's data ``demo``, the small
    model that comes with the package and knows that data alone."""
    tensor_parallel: Positive = 1
    """GPUs that one engine is divided over."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the weights; ``auto``: as the model's folder says."""
    batch_size: Positive = 64
    """Rows that are computed and made durable together."""
    max_model_len: Positive = 2048
    """Tokens of a prompt and its answer together."""
    chat_template_kwargs: Annotated[dict[str, Any], AfterValidator(_sendable)] = Field(default_factory=dict)
    """Options of the model's chat template, for example ``{enable_thinking: false}``; an endpoint is sent them."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Nucleus sampling: the probability that the tokens drawn from hold together."""
    top_k: int = Field(default=0, ge=0)
    """Only so many of the most probable tokens are drawn from; 0: all."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Tokens less probable than this share of the most probable one are not drawn."""
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=2.0)
    """Above 1, tokens that stand in the prompt or the answer already are less probable, by this factor."""
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    """Above 0, a token is less probable each time that the answer repeats it. A small model that falls into a loop
    needs about 0.5."""
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    """Above 0, a token that the answer holds already is less probable."""
    retries: int = Field(default=1, ge=0)
    """Further passes over rows whose answer was rejected, at a higher temperature."""
    retry_temperature: float = Field(default=0.7, gt=0.0)
    """The lowest temperature of these passes."""
    retry_frequency_penalty: float = Field(default=0.5, ge=-2.0, le=2.0)
    """The lowest frequency penalty of these passes, for rows whose answer was cut or repeated itself; they are also
    asked without ``reasoning``."""
    max_reject_rate: Fraction = 0.05
    """The share of rows without a usable answer above which a stage fails."""
    http: HttpConfig = HttpConfig()


class EmbedConfig(EngineOptions):
    """The model that turns text into vectors."""

    model: ModelName = ""
    """Hugging Face name or folder of any model that vLLM can pool. Empty: none; on the demo's data ``demo``, which
    comes with the package."""
    engine: Literal["vllm", "scripted"] = "vllm"
    """``scripted`` hashes words without any model and is for tests."""
    pooling: Literal["auto", "mean", "last", "cls"] = "auto"
    """``auto``: as the model's folder says; the mean of the tokens where it says nothing."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "float32"
    """Type of the weights; ``auto``: as the model's folder says."""
    batch_size: Positive = 64
    """Texts that are computed and made durable together."""
    max_model_len: Positive = 256
    """Tokens of a text; a longer one is cut."""


class AnswerOptions(Section):
    """The form of the answers that a stage asks for."""

    reasoning: Literal["first", "last", "none"] = "first"
    """Whether the model writes a reason, before the answer or after it. A reason before helps a large model; a small
    one may never come to the answer. One that is cut off after the answer costs nothing."""
    examples: bool = False
    """Whether each prompt begins with two worked examples, which a small model needs. They are about films, places or
    products, by ``data.noun``."""


class ProfilesConfig(AnswerOptions):
    """Who gets a profile, what its prompt shows, and how long the answer may be."""

    scope: Literal["pairs", "all"] = "pairs"
    """``pairs``: the users and items of the pairs that ``negatives`` chooses, and the items in these users' shown
    history: no prompt shows anything else. ``all``: every item and every user, so that other pairs can be chosen later
    without writing profiles again."""
    max_history: Positive = 20
    """The latest train interactions of a user that a prompt shows."""
    max_feedback: int = Field(default=3, ge=0)
    """The latest train reviews of an item that a prompt shows."""
    max_description_chars: int = Field(default=600, ge=0)
    """Characters of an item's description in its prompt."""
    max_review_chars: int = Field(default=200, ge=0)
    """Characters of one review in a prompt."""
    max_profile_chars: int = Field(default=200, ge=0)
    """Characters of an item's profile in a user's prompt."""
    max_output_tokens: Positive = 192
    """Tokens of an answer; one that needs more is cut and rejected."""
    temperature: float = Field(default=0.0, ge=0.0)
    """Of the sampling of tokens; 0: always the most probable."""


class NegativesConfig(AnswerOptions):
    """Which (user, item) pairs get a written negative, and how."""

    policy: Literal["all", "per_user", "budget"] = "per_user"
    """All train pairs, ``per_user`` of each user, or ``budget`` in total."""
    per_user: Positive = 3
    """Pairs of each user, with ``policy=per_user``."""
    budget: Positive = 10_000
    """Pairs in total, drawn uniformly, with ``policy=budget``."""
    max_output_tokens: Positive = 96
    """Tokens of an answer; one that needs more is cut and rejected."""
    max_profile_chars: int = Field(default=400, ge=0)
    """Characters of each profile in a prompt."""
    temperature: float = Field(default=0.8, ge=0.0)
    """Above 0, so that the pairs of one user do not all get the same name."""
    candidates: int = Field(default=0, ge=0, le=20)
    """The model chooses among so many items: those nearest in text to the item of the pair that the user has not seen
    in train, of the nearest ``neighbours.keep``. 0: it names what it knows, for models that know the catalogue."""


class GroundConfig(Section):
    """How the name that the model wrote is matched to the catalogue."""

    fuzzy: Fraction = 0.85
    """The least string similarity of the fuzzy step."""
    vector: Fraction = 0.6
    """The least cosine of the text-vector step, whose scale depends on ``embed.model``."""
    min_matched: Fraction = 0.1
    """The share of the written negatives that must name an item of the catalogue; with less, the stage fails."""
