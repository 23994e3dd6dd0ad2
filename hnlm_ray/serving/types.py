"""What goes over the wire: the request, the answers, and the arguments of the Serve application."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from hnlm_ray.config import ServeConfig

__all__ = [
    "ErrorAnswer",
    "HealthAnswer",
    "RecommendAnswer",
    "RecommendRequest",
    "ServedItem",
    "ServiceArgs",
    "request_type",
]

_DEFAULTS = ServeConfig()


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class RecommendRequest(_Wire):
    """Whom to recommend to, and how much."""

    user_id: str = Field(min_length=1, max_length=256)
    """The user's id as in the raw data. An unknown one gets popular items."""
    k: int = Field(default=10, ge=1)
    """How many items."""


class ServedItem(_Wire):
    """One recommended item."""

    item_id: str
    title: str
    score: float
    """Comparable within one answer only."""


class RecommendAnswer(_Wire):
    """The recommendation for one user."""

    user_id: str
    items: list[ServedItem]
    """Best first; fewer than ``k`` where the user has met the rest of the catalogue."""
    source: Literal["personal", "popular"]
    """``popular``: nothing is known about this user."""
    bundle_version: str


class HealthAnswer(_Wire):
    """The service can answer."""

    status: Literal["ok"]
    bundle_version: str
    data: str
    variant: str
    users: int
    items: int


class ErrorAnswer(_Wire):
    """Why the request was refused."""

    error: str
    """One sentence."""


class ServiceArgs(BaseModel):
    """Arguments of :func:`hnlm_ray.serving.app.build`, in a Serve config or from :class:`ServeConfig`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str = Field(min_length=1)
    replicas: int = Field(default=_DEFAULTS.replicas, ge=1)
    max_k: int = Field(default=_DEFAULTS.max_k, ge=1)
    max_ongoing_requests: int = Field(default=_DEFAULTS.max_ongoing_requests, ge=1)
    max_queued_requests: int = Field(default=_DEFAULTS.max_queued_requests, ge=1)

    @classmethod
    def of(cls, bundle: str, config: ServeConfig) -> ServiceArgs:
        """The arguments that a configuration gives."""
        shared = config.model_dump(include=set(cls.model_fields))
        return cls(bundle=bundle, **shared)


def request_type(max_k: int) -> type[RecommendRequest]:
    """:class:`RecommendRequest` with an upper bound on ``k``, so that the OpenAPI page states it."""
    bounded = Field(default=min(10, max_k), ge=1, le=max_k, description="How many items.")
    return create_model("RecommendRequest", __base__=RecommendRequest, k=(int, bounded))
