"""The compose file, against the image, the command line, and the files that it mounts."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.scripts.scripts import start

from hnlm_ray.cluster.ingress import SETTINGS
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy" / "compose"
MADE_BY_HAND = {"./shelf", "./feedback"}
"""Folders that the commands at the head of the file make."""


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict)
    return content


COMPOSE = read(HERE / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVICE = SERVICES["service"]
IMAGE = (ROOT / "Dockerfile").read_text()


def commands() -> list[list[str]]:
    """The commands of the service's script, as words."""
    script = SERVICE["command"][2].replace("$$", "$").replace("\\\n", " ")
    return [shlex.split(line) for line in script.splitlines() if line.strip()]


def served() -> Config:
    (words,) = [line for line in commands() if line[:3] == ["exec", "hnlm", "serve"]]
    place = words.index("--shelf")
    return load_config([], [*words[3:place], *words[place + 2 :]])


def started() -> dict[str, str]:
    (words,) = [line for line in commands() if line[:2] == ["ray", "start"]]
    return dict(word.partition("=")[::2] for word in words[2:])


def test_every_mounted_file_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert source in MADE_BY_HAND or (HERE / source).exists(), (name, source)
            else:
                assert source in COMPOSE["volumes"], (name, source)
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {f"deploy/compose/{name}/" for name in ("secrets", "shelf", "feedback")} <= set(ignored)


def test_ray_knows_every_option_of_its_start() -> None:
    known = {flag for option in start.params for flag in (*option.opts, *option.secondary_opts)}
    assert set(started()) <= known
    assert "--head" in started()


def test_the_options_of_the_service_are_options_and_fit_the_file() -> None:
    config, environment = served(), SERVICE["environment"]
    assert config.cluster.address == "auto"
    assert SERVICE["ports"] == [f"127.0.0.1:8000:{config.serve.port}"]
    assert config.serve.token_env in commands()[0][1]
    assert config.serve.replicas <= int(started()["--num-cpus"])
    mounted = {volume.split(":")[1]: volume.endswith(":ro") for volume in SERVICE["volumes"]}
    assert mounted == {"/shelf": True, config.serve.feedback: False}
    assert environment["RAY_AUTH_MODE"] == "token"
    assert set(SETTINGS) <= set(environment)
    for name in set(SETTINGS) - {"RAY_SERVE_HAPROXY_NBTHREAD", "RAY_SERVE_HAPROXY_MAXCONN"}:
        assert environment[name] == SETTINGS[name]


def test_the_probe_asks_a_path_that_is_open_with_a_program_of_the_image() -> None:
    from hnlm_ray.serving.http.guard import _OPEN

    probe = SERVICE["healthcheck"]["test"]
    assert (probe[0], probe[1]) == ("CMD", "wget")
    assert re.search(r"install .*\bwget\b", IMAGE)
    assert probe[-1].removeprefix(f"http://127.0.0.1:{served().serve.port}") in _OPEN


def test_it_runs_without_rights_that_it_does_not_need() -> None:
    assert f"--uid {SERVICE['user']} " in IMAGE
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert re.search(r":v?\d+\.\d+\.\d+\}?$", service["image"]), name
    assert SERVICE["read_only"] is True
    places = {place.split(":")[0] for place in SERVICE["tmpfs"]}
    assert places == {"/tmp", "/home/hnlm"}
    assert SERVICE["environment"]["NUMBA_CACHE_DIR"].startswith("/tmp/")


def test_secrets_are_files_and_nothing_else() -> None:
    assert set(COMPOSE["secrets"]) == {name for service in SERVICES.values() for name in service.get("secrets", ())}
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    text = (HERE / "compose.yaml").read_text()
    assert set(re.findall(r"/run/secrets/(\w+)", text)) == set(COMPOSE["secrets"])
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert all(f"secrets/{name}" in head for name in COMPOSE["secrets"])


def test_prometheus_scrapes_the_port_that_ray_opens_and_reads_the_alerts() -> None:
    prometheus = read(HERE / "prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"service:{started()['--metrics-export-port']}"]}]
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"])
    config = next(word.partition("=")[2] for word in SERVICES["prometheus"]["command"] if "config.file" in word)
    assert mounted["./prometheus.yml"] == config
    assert [f"{Path(config).parent}/{name}" for name in prometheus["rule_files"]] == [mounted["./alerts.yml"]]
    (group,) = read(HERE / "alerts.yml")["groups"]
    for rule in group["rules"]:
        assert f'job="{job["job_name"]}"' in rule["expr"] or "job=" not in rule["expr"]
        assert rule["annotations"]["summary"].endswith(".")


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    provisioning = HERE / "grafana" / "provisioning"
    (source,) = read(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert set(SERVICES["grafana"]["networks"]) >= set(SERVICES["prometheus"]["networks"])
    (provider,) = read(provisioning / "dashboards" / "hnlm.yml")["providers"]
    mounted = {target: source for source, target in (one.split(":")[:2] for one in SERVICES["grafana"]["volumes"])}
    assert list((HERE / mounted[provider["options"]["path"]]).glob("*.json"))
    assert mounted["/etc/grafana/provisioning"] == "./grafana/provisioning"


def test_compose_takes_the_file() -> None:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    if subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("docker has no plugin for compose")
    done = subprocess.run(
        ["docker", "compose", "--file", str(HERE / "compose.yaml"), "config", "--quiet"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [("config", "prometheus.yml"), ("rules", "alerts.yml")])
def test_prometheus_takes_the_files(arguments: tuple[str, str]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "check", *arguments], check=False, capture_output=True, text=True, cwd=HERE)
    assert done.returncode == 0, done.stderr
