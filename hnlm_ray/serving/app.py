"""The Ray Serve application. A Serve config names it as ``import_path: hnlm_ray.serving.app:build``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hnlm_ray.errors import ConfigError
from hnlm_ray.serving.recommender import Recommender
from hnlm_ray.serving.types import ServiceArgs
from hnlm_ray.serving.web import web_app

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

__all__ = ["RecommenderService", "build"]

_RETRY_AFTER_S = 1.0


class RecommenderService:
    """One replica: a recommender in memory behind the HTTP interface."""

    def __init__(self, bundle: str, max_k: int) -> None:
        self._recommender = Recommender.load(bundle)
        self._max_k = max_k

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Ray Serve once the replica is constructed."""
        return web_app(self._recommender, self._max_k)

    def check_health(self) -> None:
        """Called by Ray Serve; an exception or silence makes it replace the replica."""
        self._recommender.recommend("", k=1)


def build(args: dict[str, Any]) -> Application:
    """The application, from the arguments of a Serve config.

    Args:
        args: fields of :class:`hnlm_ray.serving.types.ServiceArgs`.

    Raises:
        ConfigError: an argument is missing, unknown or out of range.
    """
    from ray import serve

    checked = _checked(args)
    deployment = serve.deployment(
        name="recommender",
        num_replicas=checked.replicas,
        max_ongoing_requests=checked.max_ongoing_requests,
        max_queued_requests=checked.max_queued_requests,
        # A full queue is the client's signal to slow down, not a broken service.
        backpressure_config={"status_code": 429, "retry_after_s": _RETRY_AFTER_S},
        # A damaged bundle does not heal by trying again.
        max_constructor_retry_count=2,
        health_check_period_s=5.0,
        health_check_timeout_s=15.0,
        logging_config={"enable_access_log": False},
    )
    return deployment(serve.ingress()(RecommenderService)).bind(checked.bundle, checked.max_k)


def _checked(args: dict[str, Any]) -> ServiceArgs:
    try:
        return ServiceArgs.model_validate(args)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        known = ", ".join(ServiceArgs.model_fields)
        raise ConfigError(f"arguments of the service: {' | '.join(problems)}", f"there are {known}") from error
