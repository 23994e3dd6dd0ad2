"""Start and stop the service on the Ray that this process is connected to."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping

from hnlm_ray.config.serving import BundleSource, ServeConfig, ServiceOptions
from hnlm_ray.errors import ResourceError
from hnlm_ray.run.feedback import writable_folder
from hnlm_ray.serving.app import build
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.shelf import current_bundle
from hnlm_ray.serving.http.guard import token_of

__all__ = ["require_free", "start", "stop", "wait"]

APPLICATION = "hnlm"

_READY_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 5.0
_STOP_S = 4.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


def start(bundles: Mapping[str, str], config: ServeConfig) -> str:
    """Serve bundles and wait until they answer.

    The HTTP proxy runs on the head node alone and listens on ``config.host``, by default 127.0.0.1. Without a token
    whoever can reach this address can use the service.

    Args:
        bundles: addresses of bundles or shelves by name, which every replica's node can read; the first is the main
            one. Those of ``config.bundles`` come after them.
        config: the section ``serve``.

    Returns:
        The URL, for example ``http://127.0.0.1:8000``.

    Raises:
        BundleError: a bundle is missing or damaged.
        ConfigError: the environment variable of the token is not set.
        ResourceError: the port is in use, Ray Serve already runs on this cluster, or the service did not start.
        StoreError: nothing can be written to the folder for feedback.
    """
    from ray import serve
    from ray.exceptions import RayError

    sources = {name: BundleSource(path=path) for name, path in bundles.items()} | config.bundles
    sources = {name: one.model_copy(update={"path": _absolute(one.path)}) for name, one in sources.items()}
    shared = {name: getattr(config, name) for name in ServiceOptions.model_fields}
    if ":" not in config.host:  # which is a name, or an IPv4 address that may be asked anyway
        shared["allowed_hosts"] = (*config.allowed_hosts, config.host)
    if config.feedback is not None:
        shared["feedback"] = _absolute(config.feedback)
    options = ServiceOptions.model_validate({**shared, "bundles": sources})
    token_of(options)
    if options.feedback is not None:
        writable_folder(options.feedback)  # here, where the error reaches the user
    for source in sources.values():
        load_bundle(current_bundle(source.path))  # likewise
    if serve.status().proxies:
        raise ResourceError("Ray Serve runs already on this cluster", "stop it, or deploy with deploy/serve.yaml")
    require_free(config.host, config.port)
    application = build(options.model_dump(mode="json"))
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    url = _url(config)
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": config.host, "port": config.port, "request_timeout_s": config.timeout_s},
            logging_config={"enable_access_log": False},
        )
        serve.run(application, name=APPLICATION, route_prefix="/")
        _wait_until_ready(url)
    except BaseException as error:
        stop()
        if isinstance(error, RuntimeError | TimeoutError | RayError):
            reason = str(error).strip().splitlines()[-1]
            raise ResourceError(f"the service did not start ({reason})", "see `ray logs` for serve") from error
        raise
    return url


def _absolute(path: str) -> str:
    """The absolute path: a replica has another working directory."""
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def stop() -> None:
    """Stop the service and everything else that Ray Serve runs on this cluster, if anything.

    The proxy stops at once. Replicas take longer than anybody would wait for: what is left of them after
    :data:`_STOP_S` seconds ends by itself, or with a local Ray.
    """
    from ray import serve

    def shut_down() -> None:
        with contextlib.suppress(Exception):  # the cluster may end first
            serve.shutdown()

    closing = threading.Thread(target=shut_down, name="serve-shutdown", daemon=True)
    closing.start()
    closing.join(_STOP_S)


def wait(look_every_s: float = _LOOK_EVERY_S) -> None:
    """Block until an interrupt, or until the service ends.

    Raises:
        ResourceError: the service was stopped from outside, or it failed for good.
    """
    from ray import serve

    while True:
        application = serve.status().applications.get(APPLICATION)
        if application is None:
            raise ResourceError("the service has been stopped from outside", "start it again")
        if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            reason = application.message.strip().splitlines()[-1:] or ["no reason given"]
            raise ResourceError(f"the service is down ({reason[0]})", "see `ray logs` for serve, then start it again")
        time.sleep(look_every_s)


def _url(config: ServeConfig) -> str:
    host = _ANYWHERE.get(config.host, config.host)
    return f"http://[{host}]:{config.port}" if ":" in host else f"http://{host}:{config.port}"


def require_free(host: str, port: int) -> None:
    """Check that this machine can listen on a port.

    Raises:
        ResourceError: the port is in use, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Accepts a port whose last connections are still closing, but not one that is listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ResourceError(f"port {port} on {host} is in use", "give another serve.port") from error
            raise ResourceError(
                f"cannot listen on {host}:{port} ({error.strerror or error})", "give another serve.host or serve.port"
            ) from error


def _wait_until_ready(url: str) -> None:
    import httpx

    deadline = time.monotonic() + _READY_TIMEOUT_S
    last = "no answer"
    with httpx.Client(base_url=url, timeout=5.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                answer = client.get("/ready")
                if answer.status_code == httpx.codes.OK:
                    return
                last = f"status {answer.status_code}"
            except httpx.TransportError as error:
                last = str(error)
            time.sleep(0.1)
    raise TimeoutError(f"{url}/ready: {last} after {_READY_TIMEOUT_S:.0f} s")
