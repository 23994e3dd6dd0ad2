"""The Ray Serve application. A Serve config names it as ``import_path: hnlm_ray.serving.app:build``."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.errors import ConfigError
from hnlm_ray.serving.exporter import Exporter
from hnlm_ray.serving.http.guard import MAX_DELAYED_REFUSALS, JsonLines
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.protocol import ASGI
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["RecommenderService", "build"]

_RETRY_AFTER_S = 1.0


class RecommenderService:
    """One replica: the HTTP interface over the bundles in memory."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._options = ServiceOptions.model_validate(args)
        _log_as_json()
        # The thread that loads a bundle releases the interpreter ten times as often as usual, so that a request waits
        # half a millisecond for it instead of five, each time after it has waited for the network.
        sys.setswitchinterval(5e-4)
        self._live = Live(self._options.bundles, self._options.index_from)
        self._meters = Meters()
        Exporter(self._meters).start()

    def __serve_build_asgi_app__(self) -> ASGI:
        """Called by Ray Serve after the constructor, which has loaded and tried the bundles."""
        return web_app(self._live, self._options, self._meters, sends_request_id=False)

    def check_health(self) -> None:
        """Called by Ray Serve; an exception or silence makes it replace the replica."""
        for served in self._live:
            served.recommender.recommend("", k=1)


def build(args: dict[str, Any]) -> Application:
    """The application, from the arguments of a Serve config.

    Args:
        args: fields of :class:`hnlm_ray.config.serving.ServiceOptions`, with at least one bundle.

    Raises:
        ConfigError: an argument is unknown or out of range, or there is no bundle.
    """
    from ray import serve

    checked = _checked(args)
    scaling: dict[str, Any] = {"num_replicas": checked.replicas}
    if (checked.max_replicas or 0) > checked.replicas:
        limits = {"min_replicas": checked.replicas, "max_replicas": checked.max_replicas}
        # Half of the limit of a replica, so that the next replica is up before requests are refused.
        target = max(1, checked.max_ongoing_requests // 2)
        scaling = {"autoscaling_config": {**limits, "target_ongoing_requests": target}}
    deployment = serve.deployment(
        name="recommender",
        **scaling,
        # The replica itself refuses excess requests, after a pause. These bounds are beyond that.
        max_ongoing_requests=checked.max_ongoing_requests + MAX_DELAYED_REFUSALS,
        max_queued_requests=checked.max_ongoing_requests,
        backpressure_config={"status_code": 503, "retry_after_s": _RETRY_AFTER_S},
        # A damaged bundle stays damaged.
        max_constructor_retry_count=2,
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_timeout_s=20.0,
        logging_config={"enable_access_log": False},
    )
    return deployment(serve.ingress()(RecommenderService)).bind(checked.model_dump(mode="json"))


def _checked(args: dict[str, Any]) -> ServiceOptions:
    try:
        options = ServiceOptions.model_validate(args)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        known = ", ".join(ServiceOptions.model_fields)
        raise ConfigError(f"arguments of the service: {' | '.join(problems)}", f"there are {known}") from error
    if not options.bundles:
        raise ConfigError("the service is given no bundles", "name at least one in bundles")
    return options


def _log_as_json() -> None:
    """Log to the standard error of the replica, for which Ray has a file."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("hnlm_ray.serving")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
