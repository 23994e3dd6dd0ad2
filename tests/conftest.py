"""Fixtures that several rooms share: one Ray for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.interactions import Build, build

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads that spin take the cores from Ray and vLLM

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is slow without being wrong
hypothesis.settings.load_profile("untimed")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


TINY_TENSORS = {"kernels", "models", "samplers", "training", "tuning"}
"""Folders whose tests work on tensors so small that on a busy machine two threads mostly wait for each other."""


@pytest.fixture(autouse=True, scope="module")
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """One thread in the folders of :data:`TINY_TENSORS`."""
    if request.path.parent.name not in TINY_TENSORS:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def interactions() -> Build:
    """Makes interactions from lists of items."""
    return build


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for every test that needs one."""
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.config.tree import ClusterConfig

    with connected(ClusterConfig(num_cpus=6)):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets beside the checkout; skips where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data sets in {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """An object store: what an address needs behind it to mean this one. Its keys are in the environment."""
    server_module = pytest.importorskip("moto.moto_server.threaded_moto_server", reason="moto plays the object store")
    from hnlm_ray.cluster.ingress import free_port

    port = free_port()
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield f"?scheme=http&endpoint_override=127.0.0.1:{port}&region=us-east-1&allow_bucket_creation=true"
    server.stop()
