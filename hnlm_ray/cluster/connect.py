"""Connect to Ray, the one place that does, and check that the cluster has the resources that are needed."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from hnlm_ray.cluster import ingress
from hnlm_ray.cluster.kept import let_go
from hnlm_ray.cluster.native_lines import harmless_lines_left_out
from hnlm_ray.config.tree import ClusterConfig
from hnlm_ray.errors import ResourceError

__all__ = ["connected", "local_cpus", "local_gpus", "remote_address", "require"]

_LEAST_LOCAL_CPUS = 6
"""An engine, the small operators of Ray Data, a checkpoint filter and a train worker need slots rather than cores."""

_HARMLESS = r"maximum expected startup concurrency|ServeController\.graceful_shutdown"
"""Log lines of Ray that mean nothing: on machines with few cores, and at the end of every service."""


def remote_address(config: ClusterConfig) -> str | None:
    """The cluster to join, configured or of the job this runs in; None for a new local Ray."""
    return config.address or os.environ.get("RAY_ADDRESS") or None


def local_cpus(config: ClusterConfig) -> int:
    """Logical CPUs of a new local Ray."""
    return config.num_cpus or max(_LEAST_LOCAL_CPUS, os.cpu_count() or 1)


def local_gpus() -> int:
    """GPUs that a new local Ray would find; those of NVIDIA are counted."""
    have = len(glob.glob("/proc/driver/nvidia/gpus/*")) or len(glob.glob("/dev/nvidia[0-9]*"))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        have if chosen is None else min(have, len([one for one in chosen.split(",") if one.strip() not in ("", "-1")]))
    )


@contextlib.contextmanager
def connected(config: ClusterConfig) -> Iterator[None]:
    """Be connected during the body: to the configured cluster, to that of the job this runs in, or to a new local Ray.

    A connection that exists already is used and left open; engines that earlier work left running are ended, since
    whoever connects needs their room. No runtime environment is passed: in a job, Ray refuses one
    that repeats a key of the job's own.

    Raises:
        ResourceError: the address does not answer.
    """
    address = remote_address(config)
    if not address:
        ingress.prepare()
    _quiet()
    import ray

    if ray.is_initialized():
        let_go()
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if not address:
        memory = int(config.object_store_gib * 2**30)
        options |= {"num_cpus": local_cpus(config), "object_store_memory": memory, "include_dashboard": False}
    with harmless_lines_left_out():
        try:
            # "local" is never a cluster that somebody else runs on this machine.
            with _signals_kept():
                ray.init(address=address or "local", **options)
        except Exception as error:  # Ray raises a bare Exception when its processes do not come up in time
            where = address or "a local Ray"
            raise ResourceError(f"cannot reach {where} ({error})", "start it, or set cluster.address=null") from error
        try:
            yield
        finally:
            let_go()
            ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep this process's handlers: Ray's end it on SIGTERM, with a dump of the native stack where its core is busy."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if is_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)


def _quiet() -> None:
    """Keep the output of Ray and vLLM off the console; Ray writes it to its log files."""
    # Ray and vLLM read these when they are imported.
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", _HARMLESS)
    import ray.data  # noqa: F401  (sets up its loggers when it is imported)

    for name in ("ray", "ray._private.worker", "ray._private.services", "ray.llm", "vllm"):
        logging.getLogger(name).setLevel(logging.ERROR)
    llm = logging.getLogger("ray.llm")
    if not llm.handlers:  # without one, each module of ray.llm gives itself a handler and the level INFO
        llm.addHandler(logging.StreamHandler())
    for handler in logging.getLogger("ray.data").handlers:
        if type(handler).__name__ == "PlainRayHandler":  # the console; the other handlers write files
            handler.setLevel(logging.ERROR)


def require(needs: Mapping[str, float], purpose: str) -> None:
    """Check that the cluster has some resources at all, since Ray would wait for them forever.

    Args:
        needs: resource name to amount, for example ``{"CPU": 4, "GPU": 2}``.
        purpose: what needs them; the error names it.

    Raises:
        ResourceError: the cluster has less of one of them.
    """
    import ray

    have = ray.cluster_resources()
    short = {name: amount for name, amount in needs.items() if have.get(name, 0.0) < amount}
    if short:
        lacks = ", ".join(f"{amount:g} {name} (there are {have.get(name, 0.0):g})" for name, amount in short.items())
        raise ResourceError(f"{purpose} needs {lacks}", "use a larger cluster, cluster.num_cpus, or fewer replicas")
