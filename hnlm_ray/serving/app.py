"""The Ray Serve application. A Serve config names it as ``import_path: hnlm_ray.serving.app:build``."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from hnlm_ray.config.serving import BundleName, BundleSource, ServiceOptions
from hnlm_ray.errors import ConfigError
from hnlm_ray.serving.exporter import Exporter
from hnlm_ray.serving.http.guard import ASGI, MOST_HELD, JsonLines
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.web import WebOptions, web_app
from hnlm_ray.serving.recommend.live import Live, Source

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["RecommenderService", "ServiceArgs", "build", "live_of", "web_options"]

_RETRY_AFTER_S = 1.0


class ServiceArgs(ServiceOptions):
    """Arguments of :func:`build`, in a Serve config or from :class:`hnlm_ray.config.serving.ServeConfig`."""

    bundles: dict[BundleName, BundleSource] = Field(min_length=1)
    """By name; the first is the main one."""


class RecommenderService:
    """One replica: the bundles in memory behind the HTTP interface."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._args = ServiceArgs.model_validate(args)
        _log_as_json()
        # A thread that loads a bundle hands the interpreter over ten times as often as usual, so that requests wait
        # half a millisecond for it, not five, each time that they have waited for the network.
        sys.setswitchinterval(5e-4)
        self._live = live_of(self._args)
        self._meters = Meters()
        Exporter(self._meters).start()

    def __serve_build_asgi_app__(self) -> ASGI:
        """Called by Ray Serve once the replica is constructed, which is when its bundles have answered."""
        return web_app(self._live, web_options(self._args), self._meters)

    def check_health(self) -> None:
        """Called by Ray Serve; an exception or silence makes it replace the replica."""
        for served in self._live:
            served.recommender.recommend("", k=1)


def build(args: dict[str, Any]) -> Application:
    """The application, from the arguments of a Serve config.

    Args:
        args: fields of :class:`ServiceArgs`.

    Raises:
        ConfigError: an argument is missing, unknown or out of range.
    """
    from ray import serve

    checked = _checked(args)
    scaling: dict[str, Any] = {"num_replicas": checked.replicas}
    if (checked.max_replicas or 0) > checked.replicas:
        limits = {"min_replicas": checked.replicas, "max_replicas": checked.max_replicas}
        # Half of what a replica takes at once: the next one is there before the queue is.
        target = max(1, checked.max_ongoing_requests // 2)
        scaling = {"autoscaling_config": {**limits, "target_ongoing_requests": target}}
    deployment = serve.deployment(
        name="recommender",
        **scaling,
        # The replica itself turns away what is too much, after a pause. These bounds are for what comes beyond that.
        max_ongoing_requests=checked.max_ongoing_requests + MOST_HELD,
        max_queued_requests=checked.max_ongoing_requests,
        backpressure_config={"status_code": 503, "retry_after_s": _RETRY_AFTER_S},
        # A damaged bundle does not heal by trying again.
        max_constructor_retry_count=2,
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_timeout_s=20.0,
        logging_config={"enable_access_log": False},
    )
    return deployment(serve.ingress()(RecommenderService)).bind(checked.model_dump(mode="json"))


def live_of(args: ServiceArgs) -> Live:
    """The bundles of a process.

    Raises:
        BundleError: one is missing or damaged.
        ResourceError: the library of the index is not installed.
    """
    nobody = not any(source.share for source in args.bundles.values())
    sources = {
        name: Source(one.path, 1.0 if nobody and place == 0 else one.share, one.shadow)
        for place, (name, one) in enumerate(args.bundles.items())
    }
    return Live(sources, args.index_from)


def web_options(args: ServiceArgs) -> WebOptions:
    """How the HTTP interface behaves.

    Raises:
        ConfigError: the environment variable of the token is not set.
    """
    token = None if args.token_env is None else os.environ.get(args.token_env, "")
    if token == "":
        raise ConfigError(f"the environment variable {args.token_env} is not set", "set it on every node")
    return WebOptions(
        max_k=args.max_k,
        max_body_bytes=args.max_body_bytes,
        max_at_work=args.max_ongoing_requests,
        refusal_pause_s=args.refusal_pause_s,
        timeout_s=args.timeout_s,
        watch_s=args.watch_s,
        token=token,
        cors_origins=args.cors_origins,
        log_requests=args.log_requests,
        names_requests=False,
    )


def _checked(args: dict[str, Any]) -> ServiceArgs:
    try:
        return ServiceArgs.model_validate(args)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        known = ", ".join(ServiceArgs.model_fields)
        raise ConfigError(f"arguments of the service: {' | '.join(problems)}", f"there are {known}") from error


def _log_as_json() -> None:
    """To the replica's standard error, which Ray keeps in a file of its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("hnlm_ray.serving")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
