"""One epoch of peers, run by :mod:`cf_epoch` with the Python of an environment that has them.

    PYTHON benchmarks/peer_epoch.py train.npz THREADS

Measures whichever of RecBole (LightGCN, BPR), LensKit (LightGCN) and implicit (BPR) can be imported, each by its own
code with d 64, 3 layers, batches of 2,048. Where an epoch would take minutes, it is taken from a few steps. Needs
nothing of ``hnlm_ray``. Prints one JSON line: seconds per epoch by name.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH, DIM, LAYERS, STEPS, WARM_UP = 2048, 64, 3, 8, 2


def recbole(users: np.ndarray, items: np.ndarray, model_name: str) -> float:
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pairs").mkdir()
        lines = "\n".join(f"{user}\t{item}" for user, item in zip(users.tolist(), items.tolist(), strict=True))
        (Path(folder) / "pairs" / "pairs.inter").write_text("user_id:token\titem_id:token\n" + lines + "\n")
        options = {
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id"]},
            "embedding_size": DIM,
            "n_layers": LAYERS,
            "train_batch_size": BATCH,
            # Nearly all pairs are train: RecBole needs something to hold out.
            "eval_args": {"split": {"RS": [0.998, 0.001, 0.001]}, "order": "RO", "group_by": None, "mode": "full"},
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
        }
        sys.argv = sys.argv[:1]
        config = Config(model=model_name, dataset="pairs", config_dict=options)
        init_seed(0, reproducibility=False)
        data = create_dataset(config)
        train_data = data_preparation(config, data)[0]
        model = get_model(model_name)(config, train_data.dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    seconds, started = [], time.perf_counter()
    for batch in itertools.islice(train_data, STEPS + WARM_UP):
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    return float(np.median(seconds[WARM_UP:])) * len(train_data)


def lenskit(users: np.ndarray, items: np.ndarray) -> float:
    import pandas as pd
    from lenskit.data import from_interactions_df
    from lenskit.graphs import lightgcn
    from lenskit.training import TrainingOptions

    class FirstBatches(lightgcn.BatchIter):
        def __iter__(self):
            return itertools.islice(super().__iter__(), limit)

    data = from_interactions_df(pd.DataFrame({"user_id": users, "item_id": items}))
    scorer = lightgcn.LightGCNScorer(embedding_size=DIM, layer_count=LAYERS, batch_size=BATCH)
    trainer = scorer.create_trainer(data, TrainingOptions(device="cpu", rng=0))
    lightgcn.BatchIter = FirstBatches
    limit = WARM_UP
    trainer.train_epoch()
    limit, started = STEPS, time.perf_counter()
    trainer.train_epoch()
    return (time.perf_counter() - started) / STEPS * -(-len(users) // BATCH)


def implicit(users: np.ndarray, items: np.ndarray, threads: int) -> float:
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from scipy import sparse

    matrix = sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)))
    seconds = []
    for iterations in (1, 11):
        # `factors` counts the bias too, which implicit adds as one more column.
        model = BayesianPersonalizedRanking(factors=DIM - 1, iterations=iterations, num_threads=threads, random_state=0)
        started = time.perf_counter()
        model.fit(matrix, show_progress=False)
        seconds.append(time.perf_counter() - started)
    return (seconds[1] - seconds[0]) / 10


def main(path: str, threads: int) -> None:
    with np.load(path, allow_pickle=False) as stored:
        users, items = stored["users"], stored["items"]
    found: dict[str, float] = {}
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
    if importlib.util.find_spec("recbole"):
        found["recbole_lightgcn"] = recbole(users, items, "LightGCN")
        found["recbole_bpr"] = recbole(users, items, "BPR")
    if importlib.util.find_spec("lenskit") and importlib.util.find_spec("torch_geometric"):
        found["lenskit_lightgcn"] = lenskit(users, items)
    if importlib.util.find_spec("implicit"):
        found["implicit_bpr"] = implicit(users, items, threads)
    print(json.dumps({name: round(seconds, 2) for name, seconds in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
