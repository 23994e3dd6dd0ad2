"""Raw data and the run folder in an object store: the pipeline, a second run, a recommendation from there."""

from __future__ import annotations

import os
import subprocess
import sys

import pyarrow.fs as pafs
import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.run.plan import plan
from hnlm_ray.serving.recommend.recommender import Recommender

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

N_USERS, N_ITEMS, PER_USER = 60, 40, 8


@pytest.fixture(scope="module")
def options(object_store: str) -> list[str]:
    filesystem, _ = pafs.FileSystem.from_uri(f"s3://hnlm/raw{object_store}")
    filesystem.create_dir("hnlm")
    pairs = [f"u{user},i{(user * 7 + k * 5) % N_ITEMS}" for user in range(N_USERS) for k in range(PER_USER)]
    titles = [f"i{item},Thing number {item},Home" for item in range(N_ITEMS)]
    for name, lines in (
        ("interactions", ["user_id,item_id", *pairs]),
        ("items", ["item_id,title,categories", *titles]),
    ):
        with filesystem.open_output_stream(f"hnlm/raw/{name}.csv") as stream:
            stream.write("\n".join(lines).encode())
    return [
        "data.format=table",
        f"data.path=s3://hnlm/raw{object_store}",
        "data.interactions=interactions.csv",
        "data.items=items.csv",
        f"run=s3://hnlm/run{object_store}",
        "llm.engine=scripted",
        "embed.engine=scripted",
        "ground.min_matched=0",  # the scripted engine knows no item
        "negatives.policy=per_user",
        "negatives.per_user=1",
        "train.workers=2",
        "train.variants={hnlm: {dim: 8, epochs: 2, validate_every: 1, semantic: {mixing: {share: 0.1}}}}",
        "serve.variant=hnlm",
    ]


def hnlm(options: list[str]) -> str:
    """``hnlm run``, with a Ray of its own whose processes have the keys of the store."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "hnlm_ray.cli.main", "run", *options],
        check=False,
        env=environment | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_run_lives_in_an_object_store(options: list[str], object_store: str) -> None:
    hnlm(options)
    run = plan(load_config([], options))
    assert not run.pending()
    assert run["prepare"].artifact.read("interactions").num_rows == N_USERS * PER_USER
    assert run["negatives"].artifact.read("negatives").num_rows == N_USERS
    leftovers = [
        info.path for info in run.store.filesystem.get_file_info(pafs.FileSelector("hnlm/run", recursive=True))
    ]
    assert not [path for path in leftovers if "/_" in path]
    best = Recommender.load(run["bundle.hnlm"].artifact.address).recommend("u0", k=3)
    assert len(best.items) == 3
    assert hnlm(options).count("already complete") == len(run.stages)
