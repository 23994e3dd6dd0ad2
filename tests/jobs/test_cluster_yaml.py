"""The files that start clusters and services, against the schemas of those that read them."""

from __future__ import annotations

import copy
import shlex
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from hnlm_ray.config.serving import ServiceOptions

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = sorted((ROOT / "deploy" / "kuberay").glob("*/ray*.yaml"))


def _read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict)
    return content


def _cluster_of(resource: Mapping[str, Any]) -> dict[str, Any]:
    spec = resource["spec"]
    cluster: dict[str, Any] = spec["rayClusterSpec"] if resource["kind"] == "RayJob" else spec["rayClusterConfig"]
    return cluster


# ---- cluster.yaml


def test_the_cluster_is_valid_for_ray() -> None:
    validate_config(prepare_config(_read(ROOT / "cluster.yaml")))


@pytest.mark.parametrize(
    "path",
    [("max_worker",), ("auth", "ssh_usr"), ("available_node_types", "head", "resource"), ("docker", "imagee")],
)
def test_a_misspelt_key_is_not(path: tuple[str, ...]) -> None:
    config = copy.deepcopy(_read(ROOT / "cluster.yaml"))
    section = config
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = {"CPU": 1}
    with pytest.raises(Exception, match=path[-1]):
        validate_config(prepare_config(config))


def test_nothing_runs_on_the_head_and_every_node_wants_the_token() -> None:
    config = _read(ROOT / "cluster.yaml")
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    assert any(path.endswith("/.ray/auth_token") for path in config["file_mounts"])
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        starts = [command for command in commands if "ray start" in command]
        assert starts
        assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


# ---- Serve configs


def _unknown_keys(model: Any, content: Any, where: str = "") -> Iterator[str]:
    """Keys of ``content`` that no field of the pydantic model takes, at any depth."""
    inner = [argument for argument in typing.get_args(model) if argument is not type(None)]
    if isinstance(model, type) and issubclass(model, BaseModel) and isinstance(content, Mapping):
        for key, value in content.items():
            if key not in model.model_fields:
                yield f"{where}{key}"
            else:
                yield from _unknown_keys(model.model_fields[key].annotation, value, f"{where}{key}.")
    elif isinstance(content, list):
        for argument in inner:
            for value in content:
                yield from _unknown_keys(argument, value, where)
    elif isinstance(content, Mapping):
        for argument in inner:
            yield from _unknown_keys(argument, content, where)


def _serve_configs() -> dict[str, dict[str, Any]]:
    service = _read(ROOT / "deploy" / "kuberay" / "service" / "rayservice.yaml")
    return {
        "serve.yaml": _read(ROOT / "deploy" / "serve.yaml"),
        "rayservice.yaml": yaml.safe_load(service["spec"]["serveConfigV2"]),
    }


@pytest.mark.parametrize("name", ["serve.yaml", "rayservice.yaml"])
def test_serve_configs_have_only_keys_that_serve_knows(name: str) -> None:
    config = _serve_configs()[name]
    assert list(_unknown_keys(ServeDeploySchema, config)) == []
    ServeDeploySchema.model_validate(config)
    (application,) = config["applications"]
    module, _, function = application["import_path"].partition(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))
    ServiceOptions.model_validate(application["args"])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda c: c.update(proxy_locations="x"), ["proxy_locations"]),
        (lambda c: c["http_options"].update(prot=1), ["http_options.prot"]),
        (lambda c: c["logging_config"].update(enable_acces_log=False), ["logging_config.enable_acces_log"]),
        (lambda c: c["applications"][0].update(route="/"), ["applications.route"]),
        (
            lambda c: c["applications"][0].update(deployments=[{"name": "recommender", "num_replica": 3}]),
            ["applications.deployments.num_replica"],
        ),
    ],
)
def test_the_comparison_finds_a_misspelt_key(change: Any, found: list[str]) -> None:
    config = copy.deepcopy(_serve_configs()["serve.yaml"])
    change(config)
    assert list(_unknown_keys(ServeDeploySchema, config)) == found


# ---- KubeRay


def test_both_kinds_are_there() -> None:
    assert [_read(path)["kind"] for path in KUBERAY] == ["RayJob", "RayService"]


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_kubernetes_clusters_want_the_token_and_run_without_root(path: Path) -> None:
    import ray

    cluster = _cluster_of(_read(path))
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


def test_the_job_runs_a_script_and_a_configuration_that_exist() -> None:
    words = shlex.split(_read(ROOT / "deploy" / "kuberay" / "job" / "rayjob.yaml")["spec"]["entrypoint"])
    inside_image = [word.removeprefix("/app/") for word in words if word.startswith("/app/")]
    assert inside_image
    for name in inside_image:
        assert (ROOT / name).is_file(), name


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] == "hnlm"
    assert not [line for line in lines[lines.index("USER hnlm") :] if line.startswith("RUN")]
