"""Options of the recommendation service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from hnlm_ray.config.section import Positive, Section

__all__ = ["BundleName", "BundleSource", "ServeConfig", "ServiceOptions"]

BundleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class BundleSource(Section):
    """A named bundle of the service."""

    path: str = Field(min_length=1)
    """A bundle, or a shelf written by ``hnlm export``, whose pointer is followed; local or ``s3://`` / ``gs://``."""
    share: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Of the users, relative to the other shares. Where nobody has one, the first bundle answers all."""
    shadow: bool = False
    """Answer beside the bundle that was chosen and log how the two differ; never shown."""

    @model_validator(mode="after")
    def _shadows_have_no_users(self) -> BundleSource:
        if self.shadow and self.share:
            raise ValueError(f"a shadow answers nobody, so its share must be 0, not {self.share:g}")
        return self


class ServiceOptions(Section):
    """What every replica is told, whether a configuration or a Serve config says it."""

    replicas: Positive = 1
    max_replicas: Positive | None = None
    """More than ``replicas``: Ray Serve adds replicas under load and removes them again."""
    max_k: Positive = 1000
    """Largest number of items that a request may ask for."""
    max_ongoing_requests: Positive = 48
    """At work in one replica; one more is turned away with 503 and ``Retry-After``."""
    refusal_pause_s: float = Field(default=0.5, ge=0.0, le=10.0)
    """Before a 503 is sent, on average: clients that ask again at once would take time from those who were let in."""
    timeout_s: float = Field(default=10.0, gt=0.0)
    """After which a request is given up."""
    max_body_bytes: Positive = 1 << 20
    """Of a request; a larger one is refused with 413."""
    watch_s: float = Field(default=5.0, gt=0.0)
    """Between two looks for a new bundle on the shelves."""
    token_env: str | None = None
    """Environment variable, on every node, with the token that ``Authorization: Bearer`` must carry; ``null``: no
    login."""
    cors_origins: tuple[str, ...] = ()
    """Pages of these origins may ask from a browser."""
    log_requests: Literal["problems", "all", "none"] = "problems"
    """``problems``: a line for each refused, failed or slow request. Lines never hold ids or texts of users."""
    index_from: Positive | None = None
    """Catalogues of at least so many items are searched by an approximate index (needs the extra ``ann``); ``null``:
    every item is always scored, which is right up to about a million."""


class ServeConfig(ServiceOptions):
    """The recommendation service."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    variant: str = "hnlm"
    """Which of ``train.variants`` becomes the bundle."""
    also: tuple[str, ...] = ()
    """Further variants that become bundles: served by name, and beside the first on the web page."""
    bundles: dict[BundleName, BundleSource] = Field(default_factory=dict)
    """Bundles from elsewhere, served by name."""
    text_encoder_mib: int = Field(default=512, ge=0)
    """The model that made the items' text vectors goes into the bundle, to answer to free texts, if it is no larger
    than this."""

    @model_validator(mode="after")
    def _names_are_distinct(self) -> ServeConfig:
        names = [self.variant, *self.also, *self.bundles]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named more than once in variant, also and bundles")
        return self
