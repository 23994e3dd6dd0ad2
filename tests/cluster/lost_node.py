"""A resumable map on two nodes of which one is lost half-way and replaced; run by a test, in its own process."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import ray
from ray.cluster_utils import Cluster

from hnlm_ray.cluster.maps import mapped
from hnlm_ray.cluster.resumable import resumable_map
from hnlm_ray.run.places import Folder
from hnlm_ray.run.rows import Rows
from tests.said import Said

ROWS = pa.table({"id": pa.array(range(60), pa.int64())})
SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("square", pa.int64())])


class Slow:
    """Squares, ten rows a second."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        time.sleep(0.1 * batch.num_rows)
        ids = batch["id"].to_numpy()
        return pa.table({"id": ids, "square": ids * ids})


def squares(data):
    return mapped(
        data, Slow, retries=0, batch_size=None, compute=ray.data.ActorPoolStrategy(size=2), num_cpus=2,
        scheduling_strategy="SPREAD",
    )  # fmt: skip


def main(folder: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 2**27})
    nodes = [cluster.add_node(num_cpus=3, object_store_memory=2**27) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    said = Said()
    found: list[pa.Table] = []

    def work() -> None:
        place = Folder(pafs.LocalFileSystem(), folder)
        found.append(
            resumable_map(
                Rows.of(ROWS), squares, schema=SCHEMA, folder=place, rows_per_block=6, needs={"CPU": 4.0},
                purpose="squaring", say=said,
            ).table()
        )  # fmt: skip

    working = threading.Thread(target=work, daemon=True)  # nodes are added and removed in the main thread alone
    working.start()
    while not list(Path(folder, "results", "0").glob("*.parquet")):
        time.sleep(0.05)
    cluster.remove_node(nodes[0], allow_graceful=False)
    while not any("waiting" in line for line in said):
        time.sleep(0.1)
    cluster.add_node(num_cpus=3, object_store_memory=2**27)
    working.join(200)
    kept = len(list(Path(folder, "results", "0").glob("*.parquet")))
    content = {"squares": found[0]["square"].to_pylist(), "said": said, "kept": kept}
    Path(folder, "found.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(sys.argv[1])
