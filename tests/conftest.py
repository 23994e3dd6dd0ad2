"""Fixtures that several rooms share: one Ray for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads that spin take the cores from Ray and vLLM

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


TINY_TENSORS = {"models", "samplers", "training"}
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
def ray_session() -> Iterator[None]:
    """One local Ray for every test that needs one."""
    from hnlm_ray.cluster import connected
    from hnlm_ray.config import ClusterConfig

    with connected(ClusterConfig(num_cpus=6)):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets beside the checkout; skips where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data sets in {REAL_DATA}")
    return REAL_DATA
