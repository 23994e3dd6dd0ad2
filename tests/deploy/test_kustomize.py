"""The overlays of ``deploy/kuberay``: as files that name each other, and as what kustomize makes of them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from hnlm_ray.cluster.ingress import SETTINGS
from hnlm_ray.config.load import load_config, shipped_configs
from hnlm_ray.config.serving import ServiceOptions

KUBERAY = Path(__file__).parents[2] / "deploy" / "kuberay"
OVERLAYS = sorted(path.parent for path in KUBERAY.glob("overlays/*/*/kustomization.yaml"))


def read(folder: Path) -> dict[str, Any]:
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert isinstance(content, dict)
    return content


def resources(folder: Path) -> list[dict[str, Any]]:
    """The objects that a kustomization starts from, those of its bases included."""
    found: list[dict[str, Any]] = []
    for name in read(folder)["resources"]:
        path = (folder / name).resolve()
        found += resources(path) if path.is_dir() else [yaml.safe_load(path.read_text())]
    return found


def pods(resource: dict[str, Any]) -> list[dict[str, Any]]:
    if resource["kind"] not in ("RayJob", "RayService"):
        return []
    spec = resource["spec"]
    cluster = spec["rayClusterSpec"] if resource["kind"] == "RayJob" else spec["rayClusterConfig"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def images(objects: list[dict[str, Any]]) -> set[str]:
    return {container["image"] for resource in objects for pod in pods(resource) for container in pod["containers"]}


def built(folder: Path) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which brings kustomize, is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


def test_there_is_an_overlay_for_each_base() -> None:
    bases = {path.parent for path in KUBERAY.glob("*/kustomization.yaml")}
    assert {base.name for base in bases} == {"job", "service"}
    assert {(folder / name).resolve() for folder in OVERLAYS for name in read(folder)["resources"]} == bases


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)
def test_what_an_overlay_names_is_in_its_base(folder: Path) -> None:
    overlay, objects = read(folder), resources(folder)
    named = {(one["kind"], one["metadata"]["name"]) for one in objects}
    assert {image["name"] for image in overlay["images"]} == images(objects)
    for patch in overlay["patches"]:
        assert (patch["target"]["kind"], patch["target"]["name"]) in named
        for operation in yaml.safe_load(patch["patch"]):
            assert operation["op"] in ("add", "replace")
    for one in overlay.get("replacements", ()):
        made = {generated["name"]: generated["literals"] for generated in overlay["configMapGenerator"]}
        key = one["source"]["fieldPath"].removeprefix("data.")
        assert [literal for literal in made[one["source"]["name"]] if literal.startswith(f"{key}=")]
        for target in one["targets"]:
            assert (target["select"]["kind"], target["select"]["name"]) in named


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)
def test_kustomize_gives_every_object_its_namespace_and_every_pod_a_registry(folder: Path) -> None:
    objects, overlay = built(folder), read(folder)
    assert {one["metadata"]["namespace"] for one in objects} == {overlay["namespace"]}
    assert images(objects) == {f"{one['newName']}:{one['newTag']}" for one in overlay["images"]}
    assert "ConfigMap" not in {one["kind"] for one in objects}  # it was for kustomize alone
    account = of_kind(objects, "ServiceAccount")
    assert account["metadata"]["annotations"]
    for resource in objects:
        for pod in pods(resource):
            assert pod["serviceAccountName"] == account["metadata"]["name"]


def test_the_job_of_the_overlay_runs_what_its_patch_says() -> None:
    folder = KUBERAY / "overlays" / "example" / "job"
    words = shlex.split(of_kind(built(folder), "RayJob")["spec"]["entrypoint"])
    assert words[:2] == ["python", "/app/jobs/pipeline.py"]
    files = [shipped_configs()[name] for flag, name in pairwise(words) if flag == "-c"]
    config = load_config(files, [word for word in words if "=" in word])
    assert (config.data.path, config.run) == ("s3://example-bucket/raw", "s3://example-bucket/runs/first")


def test_the_service_of_the_overlay_has_its_shelf_and_its_environment(tmp_path: Path) -> None:
    folder = shutil.copytree(KUBERAY, tmp_path / "kuberay") / "overlays" / "example" / "service"
    file = folder / "kustomization.yaml"
    file.write_text(file.read_text().replace("shelf=s3://example-bucket/shelf", "shelf=gs://mine/a-shelf"))
    service = of_kind(built(folder), "RayService")
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    options = ServiceOptions.model_validate(application["args"])
    assert [source.path for source in options.bundles.values()] == ["gs://mine/a-shelf"]
    for pod in pods(service):
        environment = {one["name"] for container in pod["containers"] for one in container["env"]}
        assert environment == {*SETTINGS, options.token_env}
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (workers["replicas"], workers["maxReplicas"]) == (3, 3)
