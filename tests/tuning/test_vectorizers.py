"""The two steps of a factorised encoder, around a body in PyTorch instead of vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

from hnlm_ray.config.tuning import EncodeConfig, SupervisionConfig, TuneConfig
from hnlm_ray.data.vectors import vector_matrix
from hnlm_ray.tuning import vectorizers
from hnlm_ray.tuning.body import load_body
from hnlm_ray.tuning.encoder import ENCODER, EncoderSpec
from hnlm_ray.tuning.factorised import FactorisedEncoder
from hnlm_ray.tuning.forms import load_encoder
from hnlm_ray.tuning.inputs import TuneInputs
from hnlm_ray.tuning.vectorizers import PairJoiner, Task, TextVectorizer
from tests.stages.finished_run import DIM, N_ITEMS, N_USERS, FinishedRun


class TorchBody:
    """Pools the mean like the engine, one sequence at a time."""

    def __init__(self, folder: Path, config: EncodeConfig, longest: int, pooling: str) -> None:
        assert pooling == "mean"
        self._body, self._longest = load_body(str(folder)).eval(), longest

    def pool(self, sequences: Sequence[torch.Tensor]) -> tuple[torch.Tensor, npt.NDArray[np.int32]]:
        assert max(map(len, sequences)) == self._longest
        hidden = [self._body(inputs_embeds=one[None]).last_hidden_state[0].mean(dim=0) for one in sequences]
        return torch.stack(hidden), np.zeros(len(hidden), np.int32)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> TuneInputs:
    run = FinishedRun(tmp_path_factory.mktemp("vectorizers"))
    run.config = run.config.model_copy(update={"tune": TuneConfig(model="demo", teacher="uniform")})
    run.prepare()
    run.fits()
    run.language_model()
    tokens, tune = run.artifact("tokens-of-all"), run.artifact("tune-nothing")
    rng = np.random.default_rng(0)
    for key, count in (("user", N_USERS), ("item", N_ITEMS)):
        rows = [rng.integers(5, 500, size=1 + number % 9).tolist() for number in range(count)]
        tokens.write(f"{key}_tokens", pa.table({key: range(count), "tokens": pa.array(rows, pa.list_(pa.int32()))}))
    place = Path(tune.path, ENCODER)
    place.mkdir()
    FactorisedEncoder(load_body("demo"), DIM, 0).save(place, EncoderSpec("demo", DIM, form="factorised"))
    return TuneInputs.of_run(run.config, {**run.inputs, "tokens": tokens, "tune": tune})


@pytest.mark.parametrize("within", ["window", "catalogue"])
def test_texts_once_and_pairs_from_them_are_the_encoder(
    inputs: TuneInputs, within: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectorizers, "VllmBody", TorchBody)
    options = EncodeConfig.model_validate({"nearest": 3, "within": within})
    task, train = Task(inputs, options, SupervisionConfig(last=10)), inputs.train()
    texts = TextVectorizer(task)(pa.table({"id": np.random.default_rng(1).permutation(N_USERS + N_ITEMS)}))
    texts = texts.sort_by("id")
    assert texts["id"].to_pylist() == list(range(N_USERS + N_ITEMS))
    user_tokens, item_tokens = inputs.tokens(train)
    assert texts["tokens"].to_pylist() == [*(user_tokens.lengths + 1), *(item_tokens.lengths + 1)]
    vectors = vector_matrix(texts["vector"])
    found = PairJoiner(task, vectors[:N_USERS], vectors[N_USERS:])(pa.table({"id": train.keys}))
    encoder, _ = load_encoder(Path(inputs.artifacts["tune"].path, ENCODER))
    users, items = np.divmod(train.keys, train.n_items)
    own, teacher = encoder.inputs(user_tokens, item_tokens, users, items), inputs.teacher_vectors(train)
    with torch.no_grad():
        parts = torch.from_numpy(teacher.users[own.users]), torch.from_numpy(teacher.items[own.items])
        expected = encoder(*own.tensors, *parts).numpy()
    np.testing.assert_allclose(vector_matrix(found["vector"]), expected, atol=2e-3)
    nearest = vector_matrix(found["nearest"])
    assert nearest.shape == (len(train), 3)
    assert (nearest[:, 0] >= 0).mean() > 0.5
    assert not train.contains(users[:, None], np.maximum(nearest, 0))[nearest >= 0].any()
