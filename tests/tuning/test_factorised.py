"""The factorised form: towers that do not know of each other, one vector per text, and a pair's vector of the two."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlm_ray.config.tuning import LoraOptions, TuneConfig
from hnlm_ray.testing.tuning import DIM, plain_loop, small_data, small_encoder
from hnlm_ray.tuning.body import pooled
from hnlm_ray.tuning.factorised import FactorisedEncoder, Side
from hnlm_ray.tuning.tokens import lay_out_texts

OPTIONS = TuneConfig(model="demo", form="factorised", batch_size=64, epochs=3, learning_rate=5e-3)


@pytest.fixture(scope="module")
def encoder() -> FactorisedEncoder:
    made = small_encoder(OPTIONS)
    assert isinstance(made, FactorisedEncoder)
    return made.eval()


def tower(encoder: FactorisedEncoder, side: Side, rows: np.ndarray) -> torch.Tensor:
    """Vectors of users or items one by one, as inference computes them around a body that runs elsewhere."""
    data = small_data()
    tokens, vectors = {
        "user": (data.user_tokens, data.teacher.users),
        "item": (data.item_tokens, data.teacher.items),
    }[side]
    found = []
    with torch.no_grad():
        for row in rows:
            ids, mask = (torch.from_numpy(part) for part in lay_out_texts(tokens, np.array([row])))
            hidden = encoder.body(inputs_embeds=encoder.embed(ids, torch.from_numpy(vectors[[row]]), side))
            found.append(encoder.finish(pooled(hidden.last_hidden_state, mask, encoder.pooling), side))
    return torch.cat(found)


def test_a_batch_of_pairs_is_the_towers_joined(encoder: FactorisedEncoder) -> None:
    data, rows = small_data(), slice(0, 12)
    users, items = data.pairs.users[rows], data.pairs.items[rows]
    inputs = encoder.inputs(data.user_tokens, data.item_tokens, users, items)
    assert len(inputs.users) == len(np.unique(users)) < len(users)
    teacher = data.teacher.users[inputs.users], data.teacher.items[inputs.items]
    with torch.no_grad():
        together = encoder(*inputs.tensors, *(torch.from_numpy(part) for part in teacher))
        apart = encoder.join(tower(encoder, "user", users), tower(encoder, "item", items))
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_the_mixer_tells_pairs_apart_beyond_a_sum(encoder: FactorisedEncoder) -> None:
    generator = torch.Generator().manual_seed(0)
    user, item = torch.nn.functional.normalize(torch.randn(2, 1, DIM, generator=generator), dim=-1)
    with torch.no_grad():
        found = encoder.join(user, item)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1))
    assert (found - torch.nn.functional.normalize(user + item, dim=-1)).abs().max() > 1e-2


def test_every_part_learns() -> None:
    loop = plain_loop(OPTIONS.model_copy(update={"lora": LoraOptions(rank=0)}))
    before = {name: weight.clone() for name, weight in loop.stepper.weights().items()}
    while not loop.is_finished:
        loop.run_epoch()
    history = loop.progress.history
    assert history[-1].valid_loss < 0.8 * history[0].valid_loss
    assert history[-1].hit_10 > history[0].hit_10
    moved = {name.split(".")[0] for name, weight in loop.stepper.weights().items() if (weight - before[name]).any()}
    assert moved == {"user_projection", "item_projection", "user_head", "item_head", "mixer"}
