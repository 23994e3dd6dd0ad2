"""The service under load by ``wrk``: ours on Ray Serve, an empty Serve deployment, our application on uvicorn alone.

    python benchmarks/serving.py --items 20000 --settings default haproxy four_threads tuned

One bundle of random vectors (20,000 users, 30 seen items each, d 64) is asked for the best 20 items of random users.
The contenders take turns, each with a fresh server; every setting of Ray Serve measures its own empty deployment,
which returns a constant answer of the same size. Prints one JSON line per contender: requests per second and
milliseconds at one and at 32 connections. Needs ``wrk`` (Debian: apt-get install wrk). Measure on a quiet machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is there: a replica has one CPU

import httpx
import numpy as np
import pyarrow as pa

from hnlm_ray.cluster.ingress import free_port

_WRK = shutil.which("wrk") or "wrk"

K, DIM, SEEN, USERS = 20, 64, 30, 20_000

SETTINGS: dict[str, dict[str, str]] = {
    "default": {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"},
    "haproxy": {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"},
    "four_threads": {"RAY_SERVE_HAPROXY_NBTHREAD": "4"},
    "tuned": {},
}
"""What the environment says before Ray starts, beside what ``hnlm serve`` sets itself; ``tuned`` is that alone."""

SERVE = """
import sys, time
from hnlm_ray.cluster.connect import connected
from hnlm_ray.config.tree import ClusterConfig
from hnlm_ray.config.serving import ServeConfig
import ray
kind, bundle, port, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with connected(ClusterConfig(num_cpus=4)):
    from ray import serve
    from hnlm_ray.serving import control
    if kind == "ours":
        control.start({"main": bundle}, ServeConfig(port=port, log_requests="none"))
    else:
        from starlette.responses import Response
        body = b"x" * size
        class Empty:
            async def __call__(self, request):
                return Response(body, media_type="application/json")
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port},
                    logging_config={"enable_access_log": False})
        from hnlm_ray.serving.app import build
        ours = build({"bundles": {"main": {"path": bundle}}})._bound_deployment
        options = dict(max_ongoing_requests=ours.max_ongoing_requests, max_queued_requests=ours.max_queued_requests)
        serve.run(serve.deployment(**options)(Empty).bind(), route_prefix="/")
    print("ready", flush=True)
    time.sleep(3600)
"""

UVICORN = """
import sys
import uvicorn
from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.serving.recommend.live import Live
from hnlm_ray.serving.http.web import web_app
app = web_app(Live.of({"main": sys.argv[1]}), ServiceOptions(log_requests="none", max_ongoing_requests=1024))
print("ready", flush=True)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=["tuned"])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32])
    chosen = parser.parse_args()
    if not Path(_WRK).is_file():
        sys.exit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_random_bundle(f"{folder}/bundle", chosen.items)
        script = write_script(Path(folder))
        print(json.dumps({"benchmark": "serving", "items": chosen.items, **in_process(bundle)}), flush=True)
        contenders = [("uvicorn", None), *((kind, name) for name in chosen.settings for kind in ("ours", "empty"))]
        found: dict[tuple[str, str | None], list[dict[int, dict[str, float]]]] = {one: [] for one in contenders}
        size = 1500
        for _ in range(chosen.rounds):
            for kind, setting in contenders:
                with server(kind, setting, bundle, size) as port:
                    if kind == "uvicorn":
                        size = len(ask(port).content)
                    found[kind, setting].append(
                        {count: load(port, count, chosen.seconds, script) for count in chosen.connections}
                    )
        for (kind, setting), rounds in found.items():
            report: dict[str, Any] = {
                "benchmark": "serving",
                "items": chosen.items,
                "contender": kind,
                "setting": setting,
            }
            for count in chosen.connections:
                values = [one[count] for one in rounds]
                report[f"c{count}"] = {
                    name: round(float(np.median([one[name] for one in values])), 3) for name in values[0]
                }
            print(json.dumps(report), flush=True)


def in_process(bundle: str, calls: int = 3000) -> dict[str, Any]:
    """Milliseconds of one recommendation without any server, beside the product of matrix and vector alone."""
    from hnlm_ray.serving.recommend.options import RankingOptions
    from hnlm_ray.serving.recommend.recommender import Recommender

    recommender, options = Recommender.load(bundle), RankingOptions(k=K)
    users, items = recommender.bundle.contents.user_vectors, recommender.bundle.contents.item_vectors
    found = []
    # One after the other: in turns, each would find the other's matrix in the cache.
    for work in (lambda call: recommender.rank([f"u{call}"], options), lambda call: items @ users[call]):
        times = np.empty(calls)
        for call in range(calls):
            started = time.perf_counter()
            work(call)
            times[call] = time.perf_counter() - started
        found.append(round(float(np.median(times)) * 1e3, 3))
    ours, product = found
    return {"contender": "in_process", "p50_ms": ours, "product_p50_ms": product}


def write_random_bundle(path: str, n_items: int, seed: int = 0) -> str:
    """A bundle of random vectors, read by every server."""
    from hnlm_ray.serving.bundle.contents import Contents
    from hnlm_ray.serving.bundle.info import BundleAbout
    from hnlm_ray.serving.bundle.writing import write_bundle
    from hnlm_ray.tables import ITEMS

    rng = np.random.default_rng(seed)
    seen = np.sort(rng.integers(0, n_items - SEEN, (USERS, SEEN)), axis=1) + np.arange(SEEN)  # distinct in each row
    names = [f"Item number {item} of the catalogue" for item in range(n_items)]
    items = {
        "item": np.arange(n_items, dtype=np.int32),
        "item_id": [f"B{item:09d}" for item in range(n_items)],
        "title": names,
        "brand": [""] * n_items,
        "categories": [["all"]] * n_items,
        "description": [""] * n_items,
    }
    users = {"user": np.arange(USERS, dtype=np.int32), "user_id": [f"u{user}" for user in range(USERS)]}
    contents = Contents(
        user_vectors=rng.normal(size=(USERS, DIM)).astype(np.float32),
        item_vectors=rng.normal(size=(n_items, DIM)).astype(np.float32),
        seen_offsets=np.arange(0, USERS * SEEN + 1, SEEN, dtype=np.int64),
        seen_items=seen.astype(np.int32).ravel(),
        popularity=np.bincount(seen.ravel(), minlength=n_items).astype(np.int64),
        users=pa.table(users),
        items=pa.table(items, schema=ITEMS),
    )
    about = BundleAbout(data="random", variant="random", seed=seed, config={}, metrics={}, code_version="0")
    write_bundle(path, contents, about)
    return path


def write_script(folder: Path) -> str:
    """What wrk sends: each request another user."""
    path = folder / "recommend.lua"
    path.write_text(
        'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\nmath.randomseed(os.time())\n'
        f'request = function() return wrk.format(nil, "/v1/recommend", nil, \'{{"user_id": "u\' .. '
        f'math.random(0, {USERS - 1}) .. \'", "k": {K}}}\') end\n'
        'done = function(summary, latency, requests)\n  io.write(string.format("RESULT %f %f %f %f %d %d\\n", '
        "summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, "
        "latency.max / 1e3, summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write "
        "+ summary.errors.timeout))\nend\n"
    )
    return str(path)


def load(port: int, connections: int, seconds: int, script: str) -> dict[str, float]:
    """Requests per second and milliseconds; the first two seconds warm up and do not count."""
    for duration in (2, seconds):
        done = subprocess.run(
            [_WRK, "-t1", f"-c{connections}", f"-d{duration}s", "-s", script, f"http://127.0.0.1:{port}"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    found = re.search(r"RESULT (\S+) (\S+) (\S+) (\S+) (\d+) (\d+)", done.stdout)
    assert found is not None, done.stdout
    rate, p50, p99, worst, refused, failed = map(float, found.groups())
    return {"rps": rate, "p50_ms": p50, "p99_ms": p99, "max_ms": worst, "refused": refused, "failed": failed}


@contextlib.contextmanager
def server(kind: str, setting: str | None, bundle: str, size: int) -> Iterator[int]:
    """A server in processes of its own; yields its port once it answers."""
    port = free_port()
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    if setting is None:
        command = [sys.executable, "-c", UVICORN, bundle, str(port)]
    else:
        environment |= SETTINGS[setting]
        command = [sys.executable, "-c", SERVE, kind, bundle, str(port), str(size)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and "ready" not in line:
            pass
        _wait(port)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        subprocess.run(["/usr/bin/pkill", "-9", "-f", f"hnlm-haproxy-{process.pid}/"], check=False)


def ask(port: int) -> httpx.Response:
    """One request as wrk sends it."""
    body: dict[str, Any] = {"user_id": "u7", "k": K}
    return httpx.post(f"http://127.0.0.1:{port}/v1/recommend", json=body, trust_env=False, timeout=30.0)


def _wait(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if ask(port).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise TimeoutError("the server does not answer")


if __name__ == "__main__":
    main()
