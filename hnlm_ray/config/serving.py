"""Options of the recommendation service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from hnlm_ray.config.section import Positive, Section

__all__ = ["BEST", "BundleName", "BundleSource", "ServeConfig", "ServiceOptions"]

BEST = "best"
"""Stands for the variant that is best on validation."""

BundleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

HostName = Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)$")]


class BundleSource(Section):
    """Where a named bundle of the service comes from, and whom it answers."""

    path: str = Field(min_length=1)
    """A bundle, or a shelf written by ``hnlm export``, whose pointer is followed; local or ``s3://`` / ``gs://``."""
    share: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Share of the users, relative to the other shares. Where no bundle has one, the first answers everybody."""
    shadow: bool = False
    """Recommend beside the bundle that answers, and log how the two differ; no user sees it."""

    @model_validator(mode="after")
    def _shadows_have_no_users(self) -> BundleSource:
        if self.shadow and self.share:
            raise ValueError(f"a shadow answers nobody, so its share must be 0, not {self.share:g}")
        return self


class ServiceOptions(Section):
    """Options of every replica, in the section ``serve`` of a configuration or as ``args`` in a Serve config."""

    bundles: dict[BundleName, BundleSource] = Field(default_factory=dict)
    """By name. In a Serve config all of them, the main one first; in a configuration those that are served beside the
    bundles of the run."""
    replicas: Positive = 1
    """Processes that answer."""
    max_replicas: Positive | None = None
    """More than ``replicas``: Ray Serve adds replicas under load and removes them again."""
    max_k: Positive = 1000
    """Largest number of items that a request may ask for."""
    max_ongoing_requests: Positive = 48
    """Requests that one replica works on at a time; one more is refused with 503 and ``Retry-After``."""
    refusal_pause_s: float = Field(default=0.5, ge=0.0, le=10.0)
    """Seconds before a 503 is sent, on average: clients that retry at once would slow down the requests at work."""
    timeout_s: float = Field(default=10.0, gt=0.0)
    """Seconds after which a request is given up: for its body to arrive (408), and again for the answer (503)."""
    max_body_bytes: Positive = 1 << 20
    """Size of a request's body; a larger one is refused with 413."""
    feedback: str | None = None
    """Folder for the events of ``POST /v1/feedback``, local (shared by all nodes) or ``s3://`` / ``gs://``; needs
    ``token_env``. ``null``: the service takes none."""
    feedback_wait_s: float = Field(default=1.0, gt=0.0)
    """Seconds for which events wait for others, to be stored with them in one file; each request is answered when
    its events are stored."""
    watch_s: float = Field(default=5.0, gt=0.0)
    """Seconds between two checks of the shelves for a new bundle."""
    token_env: str | None = None
    """Environment variable, on every node, with the token that ``Authorization: Bearer`` must carry; ``null``: no
    token is needed."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Names that requests may carry in the header ``Host`` where no token is needed, beside ``localhost`` and IP
    addresses; ``*``: any. A page of another site could otherwise reach the service under its own name."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the service from a browser."""
    log_requests: Literal["problems", "all", "none"] = "problems"
    """``problems``: a line for each refused, failed or slow request. Lines never hold ids or texts of users."""
    index_from: Positive | None = None
    """Number of items from which on a catalogue is searched by an approximate index (needs the extra ``ann``);
    ``null``: every item is always scored, which is fast enough up to about a million."""

    @model_validator(mode="after")
    def _feedback_is_guarded(self) -> ServiceOptions:
        if self.feedback is None:
            return self
        if self.token_env is None:
            raise ValueError("feedback needs token_env: the next model learns from whatever anybody sends")
        if self.feedback_wait_s >= self.timeout_s:
            raise ValueError(f"feedback_wait_s must be less than timeout_s, which is {self.timeout_s:g}")
        return self


class ServeConfig(ServiceOptions):
    """The recommendation service."""

    host: str = "127.0.0.1"
    """Address that the service listens on; another than this machine's own needs ``token_env``."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port that the service listens on."""
    variant: str = BEST
    """Which of ``train.variants`` becomes the bundle; ``best``: the one with the best validation NDCG@20, mean over
    seeds, which the report calls chosen."""
    also: tuple[str, ...] = ()
    """Further variants that become bundles: served by name, and shown beside the first on the web page."""
    text_encoder_mib: int = Field(default=512, ge=0)
    """Largest size of the model behind the items' text vectors, in MiB, up to which the bundle includes it, so that the
    service can recommend from a text."""

    @model_validator(mode="after")
    def _names_are_distinct(self) -> ServeConfig:
        names = [self.variant, *self.also, *self.bundles]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named more than once in variant, also and bundles")
        return self
