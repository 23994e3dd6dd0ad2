"""Maps whose processes die: tried a few times, then an error that says so."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from pathlib import Path

import pyarrow as pa
import pytest

from hnlm_ray.cluster.maps import mapped
from hnlm_ray.run.deaths import way_of_death


def noted_death(folder: Path, batch: pa.Table) -> pa.Table:
    if 3 in batch["id"].to_pylist():
        (folder / f"death-{os.getpid()}").touch()
        os._exit(1)
    return batch


class NotedDeath:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, batch: pa.Table) -> pa.Table:
        return noted_death(self.folder, batch)


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["actor", "task"])
def test_a_block_that_kills_its_process_is_tried_a_bounded_number_of_times(
    ray_session: None, tmp_path: Path, kind: str
) -> None:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    rows = ray.data.range(8, override_num_blocks=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind == "task":
            data = mapped(rows, functools.partial(noted_death, tmp_path), retries=1, batch_size=None)
        else:
            pool = ray.data.ActorPoolStrategy(size=1)
            data = mapped(rows, NotedDeath, retries=1, batch_size=None, fn_constructor_args=(tmp_path,), compute=pool)
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one is asserted below)
        data.materialize()
    assert way_of_death(caught.value)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.ray
def test_a_map_that_lives_is_a_map(ray_session: None) -> None:
    import ray

    data = mapped(ray.data.range(9, override_num_blocks=3), lambda batch: batch.slice(0, 1), batch_size=None)
    assert sorted(row["id"] for row in data.take_all()) == [0, 3, 6]
