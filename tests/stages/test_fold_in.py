"""New users and items join an earlier run: they are folded in, and only their pairs are encoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.config.tuning import EncodeConfig, TuneConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.plan import plan
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.stage import StageContext, StageKey
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.stages import encode, fold_in
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.tuning.body import load_body
from hnlm_ray.tuning.encoder import ENCODER, EncoderSpec
from hnlm_ray.tuning.pair_encoder import PairEncoder

N_USERS, N_ITEMS, DIM, NEAREST = 20, 15, 4, 2
TRAIN, _ = random_world(N_USERS, N_ITEMS, 0.3, 1)
ENCODED = EncodeConfig(nearest=NEAREST, within="catalogue", batch_size=64)


def write_prepare(store: RunStore, users: list[int], items: list[int]) -> Artifact:
    """The users and items of TRAIN that are named, numbered in that order."""
    artifact = store.artifact("prepare", "a")
    artifact.create()
    artifact.write("users", pa.table({"user": range(len(users)), "user_id": [f"u{user}" for user in users]}))
    words = {"title": [f"title {item}" for item in items], "categories": [["Home"]] * len(items)}
    blank = {name: [""] * len(items) for name in ("brand", "description")}
    ids = {"item": range(len(items)), "item_id": [f"i{item}" for item in items]}
    artifact.write("items", pa.table({**ids, **words, **blank}))
    met = {(user, item) for user, item in zip(TRAIN.users.tolist(), TRAIN.items.tolist(), strict=True)}
    pairs = [(u, i) for u, user in enumerate(users) for i, item in enumerate(items) if (user, item) in met]
    columns = {"user": [u for u, _ in pairs], "item": [i for _, i in pairs], "split": ["train"] * len(pairs)}
    rest = {"rating": [None] * len(pairs), "timestamp": [None] * len(pairs), "review": [""] * len(pairs)}
    artifact.write("interactions", pa.table({**columns, **rest}))
    artifact.commit({})
    return artifact


def write_tokens(store: RunStore, n_users: int, n_items: int) -> Artifact:
    artifact = store.artifact("tokens", "a")
    artifact.create()
    for key, size in (("user", n_users), ("item", n_items)):
        tokens = pa.array([[5 + number, 6] for number in range(size)], pa.list_(pa.int32()))
        artifact.write(f"{key}_tokens", pa.table({key: range(size), "tokens": tokens}))
    artifact.commit({})
    return artifact


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A finished run over the first 16 users and 12 items."""
    from safetensors.numpy import save

    store = RunStore(str(tmp_path_factory.mktemp("earlier")))
    config = Config(tune=TuneConfig(teacher="uniform"))
    rng = np.random.default_rng(0)
    prepare = write_prepare(store, list(range(16)), list(range(12)))
    fit = store.artifact("train.uniform.s0", "a")
    fit.create()
    tables = {"user_vectors": (16, DIM), "item_vectors": (12, DIM)}
    fit.write_bytes("model.safetensors", save({k: rng.normal(size=v).astype(np.float32) for k, v in tables.items()}))
    tune = store.artifact("tune", "a")
    place = Path(tune.path, ENCODER)
    place.mkdir(parents=True)
    PairEncoder(load_body("demo"), DIM, 0).save(place, EncoderSpec("demo", DIM))
    encoded = store.artifact("encode", "a")
    encoded.create()
    known = prepare.read("interactions")
    users, items = known["user"].to_numpy(), known["item"].to_numpy()
    vectors = rng.normal(size=(len(users), DIM)).astype(np.float16)
    columns = {"pair": users.astype(np.int64) * 12 + items, "user": users, "item": items}
    nearest = pa.array(rng.integers(12, size=(len(users), NEAREST)).tolist(), pa.list_(pa.int32()))
    encoded.write("encoded", pa.table({**columns, "vector": list(vectors), "nearest": nearest}))
    for artifact in (fit, tune, encoded):
        artifact.commit({})
    stages = {StageKey("train", "uniform", 0): fit, **{StageKey(one.stage): one for one in (prepare, tune, encoded)}}
    RunRecord.of(config, stages).write(store)
    return store


@pytest.fixture
def joined(earlier: RunStore, tmp_path: Path) -> StageContext:
    """Everybody of TRAIN, in another order."""
    store = RunStore(str(tmp_path))
    users, items = list(range(N_USERS))[::-1], list(range(N_ITEMS))[::-1]
    inputs = {"prepare": write_prepare(store, users, items), "tokens": write_tokens(store, N_USERS, N_ITEMS)}
    config = Config(tune=TuneConfig(teacher="uniform", keep=earlier.root), encode=ENCODED)
    output = store.artifact("fold_in", "a")
    output.create()
    context = StageContext(config, inputs, output)
    assert fold_in.run(context).counts == {"new_users": 4, "new_items": 3}
    output.commit({})
    return StageContext(config, {**inputs, "fold_in": output}, store.artifact("encode", "a"))


def test_who_was_there_keeps_their_vector(earlier: RunStore, joined: StageContext) -> None:
    before = load(earlier.artifact("train.uniform.s0", "a").read_bytes("model.safetensors"))
    after = load(joined.inputs["fold_in"].read_bytes("model.safetensors"))
    np.testing.assert_array_equal(after["user_vectors"][::-1][:16], before["user_vectors"])
    np.testing.assert_array_equal(after["item_vectors"][::-1][:12], before["item_vectors"])
    assert np.linalg.norm(after["user_vectors"][:4], axis=1).min() > 0


@pytest.mark.vllm
@pytest.mark.ray
def test_only_new_pairs_are_encoded(earlier: RunStore, joined: StageContext, ray_session: None) -> None:
    joined.output.create()
    summary = encode.run(joined)
    old = earlier.artifact("encode", "a").read("encoded")
    table = joined.output.read("encoded")
    assert summary.rows == {"encoded": len(TRAIN)}
    assert summary.counts["known"] == len(old)
    assert 0 < summary.counts["tokens"] == 6 * (len(TRAIN) - len(old))
    np.testing.assert_array_equal(np.sort(table["pair"].to_numpy()), table["pair"].to_numpy())
    found = {(row["user"], row["item"]): row for row in table.to_pylist()}
    met = set(found)
    for row in old.to_pylist():
        user, item = N_USERS - 1 - row["user"], N_ITEMS - 1 - row["item"]
        assert found[user, item]["vector"] == row["vector"]
        expected = [N_ITEMS - 1 - near for near in row["nearest"]]
        assert found[user, item]["nearest"] == [-1 if (user, near) in met else near for near in expected]


def test_a_run_with_nobody_in_common_is_one_sentence(earlier: RunStore, tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    context = StageContext(
        Config(tune=TuneConfig(teacher="uniform", keep=earlier.root)),
        {"prepare": write_prepare(store, [16, 17], [12, 13])},
        store.artifact("fold_in", "a"),
    )
    with pytest.raises(ConfigError, match="has no user and no item of this one"):
        fold_in.run(context)


def test_the_plan_neither_supervises_nor_tunes(earlier: RunStore) -> None:
    tuned = "train.variants={uniform: {}, hnlm: {semantic: {source: tuned}}}"
    names = [stage.name for stage in plan(load_config([], [tuned, f"tune.keep={earlier.root}"])).stages]
    assert not {"supervise", "tune"} & set(names)
    assert names.index("fold_in") < names.index("encode") < names.index("train.hnlm.s0")


def test_a_folder_without_a_finished_run_is_one_sentence(tmp_path: Path) -> None:
    tuned = "train.variants={uniform: {}, hnlm: {semantic: {source: tuned}}}"
    with pytest.raises(ConfigError, match="is no run folder"):
        plan(load_config([], [tuned, f"tune.keep={tmp_path}"]))
    RunRecord.of(Config(), {}).write(RunStore(str(tmp_path)))
    with pytest.raises(ConfigError, match="has no finished prepare"):
        plan(load_config([], [tuned, f"tune.keep={tmp_path}"]))
