"""The service in trouble, on Ray Serve as ``hnlm serve`` starts it: new bundles, killed replicas, load, idle clients.

    python benchmarks/serving_trouble.py reload     # 32 connections for a minute, a new bundle every 5 s
    python benchmarks/serving_trouble.py kill       # 20 times SIGKILL for a replica at 200 requests/s
    python benchmarks/serving_trouble.py overload   # 4 and 16 times the connections that it answers in time
    python benchmarks/serving_trouble.py idle       # 4,300 requests whose head never ends, 1,000 whose body never comes

Each prints one JSON line. ``wrk`` makes the load of the first and the third; a slow Python client beside it checks
answers and measures what single requests take. Needs ``wrk`` (Debian: apt-get install wrk).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from serving import _WRK, USERS, K, write_random_bundle, write_script

N_ITEMS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[str], dict[str, Any]]] = {
        "reload": reload, "kill": kill, "overload": overload, "idle": idle,
    }  # fmt: skip
    parser.add_argument("part", choices=list(parts))
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = parts[chosen.part](folder)
    print(json.dumps({"benchmark": f"serving_trouble {chosen.part}", "items": N_ITEMS, **report}))


def reload(folder: str, seconds: int = 60, every_s: float = 5.0) -> dict[str, Any]:
    """Answers are checked against the bundle that they name."""
    from hnlm_ray.serving.bundle.shelf import Shelf
    from hnlm_ray.serving.recommend.recommender import Recommender

    shelf = Shelf(f"{folder}/shelf")
    paths = [write_random_bundle(f"{folder}/{seed}", N_ITEMS, seed) for seed in range(3)]
    versions = [shelf.add(path).version for path in paths]
    shelf.use(versions[0])
    expected = dict(zip(versions, map(Recommender.load, paths), strict=True))
    seen: Counter[str] = Counter()
    wrong: list[str] = []

    def check(client: httpx.Client, user: int) -> float:
        started = time.perf_counter()
        answer = client.post("/v1/recommend", json={"user_id": f"u{user}", "k": K})
        took = time.perf_counter() - started
        if answer.status_code != httpx.codes.OK:
            wrong.append(str(answer.status_code))
            return took
        content = answer.json()
        seen[content["bundle_version"]] += 1
        truth = expected[content["bundle_version"]].recommend(f"u{user}", K)
        # By score: a batch adds up in another order, and items that differ in the last bit may change places.
        if not np.allclose([one["score"] for one in content["items"]], [one.score for one in truth.items], rtol=1e-5):
            wrong.append("items")
        return took

    with service(f"{folder}/shelf", watch_s=0.5) as url, load(url, 32, seconds + 5, folder) as result:
        times, flips, next_flip = [], 0, time.monotonic() + every_s
        end = time.monotonic() + seconds
        rng = np.random.default_rng(0)
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            while time.monotonic() < end:
                times.append(check(client, int(rng.integers(USERS))))
                if time.monotonic() > next_flip:
                    flips, next_flip = flips + 1, next_flip + every_s
                    shelf.use(versions[flips % len(versions)])
    return {"flips": flips, "checked": len(times), "wrong": Counter(wrong), "versions": seen, "wrk": result()} | {
        f"{name}_ms": round(float(np.quantile(times, share)) * 1e3, 2)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def idle(folder: str) -> dict[str, Any]:
    """How long ``/health`` takes beside clients that open a request and leave it, and how soon those are let go."""
    head = b"POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "
    body = b"POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\n{"
    with service(write_random_bundle(f"{folder}/bundle", N_ITEMS)) as url:
        alone = _health(url)
        return {"alone": alone, "heads": _idlers(url, 4300, head), "bodies": _idlers(url, 1000, body)}


def _idlers(url: str, count: int, begin: bytes, patience_s: float = 60.0) -> dict[str, Any]:
    address, started = urlsplit(url), time.monotonic()
    with contextlib.ExitStack() as stack:
        idlers = [
            stack.enter_context(socket.create_connection((address.hostname, address.port), 5)) for _ in range(count)
        ]
        for one in idlers:
            one.sendall(begin)
        beside, waiting = _health(url), idlers
        while waiting and time.monotonic() < started + patience_s:
            waiting = [one for one in waiting if not _is_answered(one)]
            time.sleep(0.5)
        return {**beside, "let_go": count - len(waiting), "after_s": round(time.monotonic() - started, 1)}


def _is_answered(one: socket.socket) -> bool:
    """Whether the other side has sent something or has closed."""
    one.setblocking(False)
    try:
        one.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _health(url: str, asked: int = 60) -> dict[str, Any]:
    times, status = [], Counter[int]()
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for _ in range(asked):
            started = time.perf_counter()
            status[client.get("/health").status_code] += 1
            times.append(time.perf_counter() - started)
            time.sleep(0.1)
    p50, most = (round(float(np.quantile(times, share)) * 1e3, 1) for share in (0.5, 1.0))
    return {"p50_ms": p50, "max_ms": most, "status": dict(status)}


def kill(folder: str, kills: int = 20, rate: int = 200) -> dict[str, Any]:
    """Two replicas; a request that fails is tried again, up to five times, as a careful client does."""
    bundle = write_random_bundle(f"{folder}/bundle", N_ITEMS)
    with service(bundle, replicas=2) as url:
        stop, recoveries = threading.Event(), list[float]()
        killer = threading.Thread(target=_kill_replicas, args=(kills, recoveries, stop))
        killer.start()
        outcome = asyncio.run(_steady(url, rate, stop))
        killer.join()
    return {
        **outcome,
        "kills": len(recoveries),
        "recovery_s": {"median": round(float(np.median(recoveries)), 2), "max": round(max(recoveries), 2)},
    }


def _kill_replicas(kills: int, recoveries: list[float], stop: threading.Event) -> None:
    """A replica is back when Serve counts as many running ones as before."""
    from ray import serve

    def running() -> int:
        (application,) = serve.status().applications.values()
        return sum(one.replica_states.get("RUNNING", 0) for one in application.deployments.values())

    try:
        for _ in range(kills):
            time.sleep(2.0)
            victims = processes(b"ray::ServeReplica")
            os.kill(victims[0], signal.SIGKILL)
            started = time.monotonic()
            while len(set(processes(b"ray::ServeReplica")) - set(victims)) < 1 or running() < len(victims):
                if time.monotonic() - started > 60:
                    break
                time.sleep(0.05)
            recoveries.append(time.monotonic() - started)
    finally:
        stop.set()


async def _steady(url: str, rate: int, stop: threading.Event) -> dict[str, Any]:
    """An open loop: requests start on time, whether earlier ones are answered or not."""
    outcomes: Counter[str] = Counter()
    times: list[float] = []
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=5.0, limits=limits) as client:

        async def one(user: int) -> None:
            started = time.perf_counter()
            for attempt in range(6):
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.post("/v1/recommend", json={"user_id": f"u{user}", "k": K})
                    if answer.status_code == httpx.codes.OK:
                        outcomes["ok" if attempt == 0 else "ok_after_retry"] += 1
                        times.append(time.perf_counter() - started)
                        return
                await asyncio.sleep(0.1 * 2**attempt)
            outcomes["failed"] += 1

        tasks, begun, sent = set[asyncio.Task[None]](), time.monotonic(), 0
        while not stop.is_set():
            due = int((time.monotonic() - begun) * rate)
            for number in range(sent, due):
                task = asyncio.create_task(one(number % USERS))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            sent = due
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
    return {"requests": sent, **outcomes, "p99_ms": round(float(np.quantile(times, 0.99)) * 1e3, 1)}


def overload(folder: str, seconds: int = 40) -> dict[str, Any]:
    """Normal: 32 connections, overload: four times as many, flood: sixteen times."""
    bundle = write_random_bundle(f"{folder}/bundle", N_ITEMS)
    report: dict[str, Any] = {}
    with service(bundle) as url:
        for name, connections in (("normal", 32), ("overload", 4 * 32), ("flood", 16 * 32)):
            memory = _resident()
            with load(url, connections, seconds, folder) as result:
                time.sleep(2)
                outcomes, times = _probe(url, seconds - 4)
            report[name] = {
                "connections": connections,
                "wrk": result(),
                "probe": outcomes,
                "accepted_p50_ms": round(float(np.median(times)) * 1e3, 1),
                "accepted_p99_ms": round(float(np.quantile(times, 0.99)) * 1e3, 1),
                "memory_mib": [memory, _resident()],
            }
    return report


def _probe(url: str, seconds: float) -> tuple[Counter[str], list[float]]:
    outcomes: Counter[str] = Counter()
    times: list[float] = []
    end = time.monotonic() + seconds
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        while time.monotonic() < end:
            started = time.perf_counter()
            answer = client.post("/v1/recommend", json={"user_id": "u7", "k": K})
            if answer.status_code == httpx.codes.OK:
                times.append(time.perf_counter() - started)
            told = (
                ""
                if answer.status_code == httpx.codes.OK or "retry-after" in answer.headers
                else " without Retry-After"
            )
            outcomes[f"{answer.status_code}{told}"] += 1
    return outcomes, times


@contextlib.contextmanager
def service(path: str, **options: Any) -> Iterator[str]:
    """Started as ``hnlm serve`` starts it; yields the address."""
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.cluster.ingress import free_port
    from hnlm_ray.config.serving import ServeConfig
    from hnlm_ray.config.tree import ClusterConfig
    from hnlm_ray.serving import control

    with connected(ClusterConfig(num_cpus=4)):
        try:
            yield control.start({"main": path}, ServeConfig(port=free_port(), log_requests="none", **options))
        finally:
            control.stop()


@contextlib.contextmanager
def load(url: str, connections: int, seconds: int, folder: str) -> Iterator[Callable[[], str]]:
    """``wrk`` beside what the block does; the yielded function tells what it measured, once the block is left."""
    script = write_script(Path(folder))
    command = [_WRK, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    found: list[str] = []
    try:
        yield lambda: found[0]
    finally:
        output = process.communicate()[0]
        line = next(line for line in output.splitlines() if line.startswith("RESULT"))
        names = ("rps", "p50_ms", "p99_ms", "max_ms", "not_200", "failed")
        found.append(", ".join(f"{name} {float(value):g}" for name, value in zip(names, line.split()[1:], strict=True)))


def processes(name: bytes) -> list[int]:
    """Those whose command begins with a name; Ray's workers carry the class of their actor."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(name):
                found.append(int(path.parent.name))
    return sorted(found)


def _resident() -> int:
    """MiB of all replicas."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in processes(b"ray::ServeReplica"))
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


if __name__ == "__main__":
    main()
