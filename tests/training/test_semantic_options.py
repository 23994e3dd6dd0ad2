"""How the language model's negatives enter a fit: sources, uses, controls, the share, and text as plain features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import DataError
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training import checkpoint
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.fit import FitResult, fit
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.shard import Shard

TRAIN, VALID = random_world(40, 30, 0.2, 0)
PLAIN = {"dim": 8, "epochs": 4, "batch_size": 64, "learning_rate": 0.01, "validate_every": 2}
TUNED = PLAIN | {"semantic": True, "semantic_source": "tuned", "alpha": 0.3, "contrastive_weight": 0.1}
RETRIEVED = PLAIN | {"semantic": True, "semantic_source": "retrieved"}
CANDIDATES = RETRIEVED | {"semantic_use": "candidates", "sampler": {"name": "dns", "candidates": 4}}


def encoded(seed: int = 0) -> PairVectors:
    """A vector and three unmet items for every second pair; some pairs have fewer."""
    rng = np.random.default_rng(seed)
    pairs = TRAIN.keys[::2]
    items = np.stack([rng.choice(np.setdiff1d(np.arange(30), TRAIN.row(int(pair) // 30)), 3) for pair in pairs])
    items[::5, 1:] = -1
    vectors = rng.normal(size=(len(pairs), 5)).astype(np.float16)
    return PairVectors(pairs, np.arange(len(pairs), dtype=np.int32), vectors, 30, items.astype(np.int32))


TEXTS = np.random.default_rng(9).normal(size=(30, 6)).astype(np.float16)


def fitted(options: dict[str, Any], vectors: PairVectors | None = None, **arguments: Any) -> FitResult:
    return fit(TRAIN, VALID, VariantConfig.model_validate(options), 0, vectors=vectors, **arguments)


def losses(result: FitResult) -> list[float]:
    return [record.loss for record in result.progress.history]


def saved_in(folder: Path) -> Callable[[TrainingLoop], None]:
    """Writes a checkpoint per validation into a folder named by its epoch."""

    def save(loop: TrainingLoop) -> None:
        place = folder / str(loop.progress.epoch)
        place.mkdir()
        checkpoint.save(loop, place)

    return save


def loop_of(options: dict[str, Any]) -> TrainingLoop:
    shard = Shard.cut(TRAIN, VALID, 0, 1)
    return TrainingLoop(shard, VariantConfig.model_validate(options), 0, encoded(), torch.device("cpu"), TEXTS)


@pytest.mark.parametrize(
    "options", [TUNED, RETRIEVED | {"alpha": 0.3}, CANDIDATES], ids=["tuned", "retrieved", "candidates"]
)
def test_other_vectors_give_other_losses(options: dict[str, Any]) -> None:
    assert losses(fitted(options, encoded())) == losses(fitted(options, encoded()))
    assert losses(fitted(options, encoded())) != losses(fitted(options, encoded(1)))


def test_candidates_are_chosen_from_and_are_never_met() -> None:
    loop = loop_of(CANDIDATES)
    chosen: list[torch.Tensor] = []
    sampler, seen = loop.model.sampler, []

    def watch(scene: Any) -> Any:
        negatives = sampler(scene)
        chosen.append(negatives.items)
        seen.append((scene.users.numpy(), scene.extra.numpy()))
        return negatives

    watch.needs_layers = watch.needs_batch = False  # type: ignore[attr-defined]
    del loop.model.sampler
    loop.model.sampler = watch  # type: ignore[assignment]
    loop.run_epoch()
    from_extra = 0
    for (users, extra), negatives in zip(seen, chosen, strict=True):
        assert not TRAIN.contains(users, negatives[:, 0].numpy()).any()
        from_extra += int((extra == negatives.numpy()).any(axis=1).sum())
    assert from_extra > len(TRAIN) // 20


def test_a_pair_without_items_gets_none_as_candidate() -> None:
    loop = loop_of(CANDIDATES)
    rows = np.array([0, -1, 5], dtype=np.int32)
    extra = loop.model._extra(rows)
    assert extra is not None
    assert (extra[1] == -1).all()
    np.testing.assert_array_equal(extra[0].numpy(), encoded().items[0])  # type: ignore[index]


def test_of_several_items_another_is_drawn_in_another_epoch() -> None:
    loop = loop_of(RETRIEVED | {"alpha": 1.0})
    found = []
    for epoch in (1, 2):
        batch = next(iter(loop.stream.epoch(1)))
        found.append(float(loop.model.loss(Batch(**vars(batch)), epoch).ranking))
    assert found[0] != found[1]


def test_a_frozen_alignment_stays_and_resumes(tmp_path: Path) -> None:
    options = TUNED | {"alignment": "frozen"}
    loop = loop_of(options)
    before = {name: weight.clone() for name, weight in loop.model.alignment.named_parameters()}  # type: ignore[union-attr]
    loop.run_epoch()
    assert all(torch.equal(before[name], weight) for name, weight in loop.model.alignment.named_parameters())  # type: ignore[union-attr]

    whole = fitted(options, encoded(), on_validation=saved_in(tmp_path))
    assert losses(fitted(options, encoded(), resume_from=tmp_path / "2")) == losses(whole)
    assert losses(whole) != losses(fitted(TUNED, encoded()))


def test_a_learned_share_moves_and_resumes(tmp_path: Path) -> None:
    options = TUNED | {"alpha_mode": "learned", "alpha": 0.5}
    loop = loop_of(options)
    for _ in range(3):
        loop.run_epoch()
    assert loop.model.alpha_logit is not None
    assert abs(loop.model.alpha_logit.item()) > 1e-3

    whole = fitted(options, encoded(), on_validation=saved_in(tmp_path))
    assert losses(fitted(options, encoded(), resume_from=tmp_path / "2")) == losses(whole)


def test_a_rising_share_begins_low_and_arrives() -> None:
    model = loop_of(TUNED | {"alpha_mode": "rising", "epochs": 10}).model
    assert [model._alpha(epoch) for epoch in (1, 5, 9)] == pytest.approx([0.06, 0.3, 0.3])


def test_softmax_losses_take_a_learned_share_too() -> None:
    options = TUNED | {"alpha_mode": "learned", "loss": "softmax", "sampler": {"name": "uniform", "negatives": 4}}
    assert np.isfinite(losses(fitted(options, encoded()))).all()


def test_text_as_features_reaches_the_items_and_is_trained() -> None:
    with_text = PLAIN | {"item_text": True}
    result = fitted(with_text, item_texts=TEXTS)
    assert losses(result) != losses(fitted(PLAIN))
    assert losses(result) != losses(fitted(with_text, item_texts=TEXTS[::-1]))
    assert result.counts["parameters"] == fitted(PLAIN).counts["parameters"] + 6 * 8
    loop = loop_of(with_text)
    before = loop.model.text_map.detach().clone()  # type: ignore[union-attr]
    loop.run_epoch()
    assert not torch.equal(before, loop.model.text_map)  # type: ignore[arg-type]


@pytest.mark.parametrize("texts", [None, TEXTS[:5]], ids=["none", "too few"])
def test_missing_texts_are_one_sentence(texts: Any) -> None:
    with pytest.raises(DataError, match="item_text needs 30 text vectors"):
        fitted(PLAIN | {"item_text": True}, item_texts=texts)


def test_vectors_without_items_cannot_be_retrieved() -> None:
    own = encoded()
    with pytest.raises(DataError, match="semantic_source is retrieved"):
        fitted(RETRIEVED, PairVectors(own.pairs, own.rows, own.vectors, 30))


@pytest.mark.parametrize("control", ["shuffled", "random"])
def test_controls_keep_pairs_and_never_name_a_met_item(control: str) -> None:
    own = encoded()
    dealt = getattr(own, control)(TRAIN, 0)
    assert set(dealt.pairs) <= set(own.pairs)
    assert len(dealt.pairs) > 0.8 * len(own.pairs)
    items = dealt.items[dealt.rows]
    users = np.repeat(dealt.pairs // 30, items.shape[1]).reshape(items.shape)
    assert not (TRAIN.contains(users, np.maximum(items, 0)) & (items >= 0)).any()
    assert (items[:, 0] >= 0).all()
    norms = np.linalg.norm(own.vectors.astype(np.float32), axis=1)
    assert np.linalg.norm(dealt.vectors.astype(np.float32), axis=1).mean() == pytest.approx(norms.mean(), rel=0.1)
    bare = PairVectors(own.pairs, own.rows, own.vectors, 30)
    plain = getattr(bare, control)(TRAIN, 0)
    np.testing.assert_array_equal(plain.pairs, own.pairs)
    assert not np.array_equal(plain.vectors[plain.rows], own.vectors)


REFUSED = [
    ({"semantic_use": "candidates"}, "no effect without semantic"),
    ({"semantic_control": "random"}, "no effect without semantic"),
    (TUNED | {"semantic_use": "candidates", "alpha": 0.0}, "needs items"),
    (RETRIEVED | {"semantic_use": "candidates"}, "takes no candidates"),
    (CANDIDATES | {"alpha": 0.5}, "alpha has no effect"),
    (TUNED | {"alpha_mode": "learned", "alpha": 0.0}, "must start between 0 and 1"),
    ({"backbone": "ease", "item_text": True}, "no item embeddings"),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_what_has_no_effect_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        VariantConfig.model_validate(options)
