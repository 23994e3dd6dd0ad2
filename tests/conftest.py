"""Fixtures that several rooms share: one Ray for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "2")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


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


UNPROVEN = (
    "jobs/test_submit.py",
    "llm/test_endpoint.py",
    "llm/test_vllm.py",
    "llm/test_generate.py::test_a_prompt_that",
)
"""Tests that have not passed on a quiet machine yet; ``HNLM_UNPROVEN=1`` runs them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, visibly, what nobody has seen pass."""
    if os.environ.get("HNLM_UNPROVEN"):
        return
    for item in items:
        if any(part in item.nodeid for part in UNPROVEN):
            item.add_marker(pytest.mark.skip(reason="unproven: set HNLM_UNPROVEN=1 to run it"))
