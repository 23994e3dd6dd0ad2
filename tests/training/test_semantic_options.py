"""How the language model's negatives enter a fit: sources, uses, controls, the share, and text as plain features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import DataError
from hnlm_ray.samplers.protocol import Negatives
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training import checkpoint
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.fit import FitResult, fit
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.semantic import Strength
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation

TRAIN, VALID = random_world(40, 30, 0.2, 0)
PLAIN = {"dim": 8, "epochs": 4, "batch_size": 64, "learning_rate": 0.01, "validate_every": 2}
CONTRAST = {"weight": 0.1}


def tuned(share: float = 0.3, mode: str = "fixed", **others: Any) -> dict[str, Any]:
    mixing = {"share": share, "mode": mode}
    return PLAIN | {"semantic": {"source": "tuned", "mixing": mixing, "contrast": CONTRAST, **others}}


def retrieved(share: float) -> dict[str, Any]:
    return PLAIN | {"semantic": {"source": "retrieved", "mixing": {"share": share}}}


CANDIDATES = PLAIN | {
    "semantic": {"source": "retrieved", "use": "candidates"},
    "sampler": {"name": "dns", "candidates": 4},
}


def encoded(seed: int = 0) -> PairVectors:
    """A vector and three unmet items for every second pair; some pairs have fewer."""
    rng = np.random.default_rng(seed)
    pairs = TRAIN.keys[::2]
    items = np.stack([rng.choice(np.setdiff1d(np.arange(30), TRAIN.row(int(pair) // 30)), 3) for pair in pairs])
    items[::5, 1:] = -1
    vectors = rng.normal(size=(len(pairs), 5)).astype(np.float16)
    return PairVectors(pairs, np.arange(len(pairs), dtype=np.int32), vectors, 30, items.astype(np.int32))


TEXTS = np.random.default_rng(9).normal(size=(30, 6)).astype(np.float16)


def fitted(
    options: dict[str, Any], vectors: PairVectors | None = None, texts: Any = None, **arguments: Any
) -> FitResult:
    variant = VariantConfig.model_validate(options)
    return fit(TRAIN, VALID, variant, 0, side=SideInformation(vectors, texts), **arguments)


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
    variant, side = VariantConfig.model_validate(options), SideInformation(encoded(), TEXTS)
    return TrainingLoop(Shard.cut(TRAIN, VALID, 0, 1), variant, 0, side, torch.device("cpu"))


@pytest.mark.parametrize("options", [tuned(), retrieved(0.3), CANDIDATES], ids=["tuned", "retrieved", "candidates"])
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
    semantic = loop_of(CANDIDATES).model.semantic
    assert semantic is not None
    candidates = semantic.candidates(np.array([0, -1, 5], dtype=np.int32))
    assert candidates is not None
    assert (candidates[1] == -1).all()
    np.testing.assert_array_equal(candidates[0].numpy(), encoded().items[0])  # type: ignore[index]


def test_of_several_items_another_is_drawn_in_another_epoch() -> None:
    loop = loop_of(retrieved(1.0))
    found = []
    for epoch in (1, 2):
        batch = next(iter(loop.stream.epoch(1)))
        found.append(float(loop.model.loss(Batch(**vars(batch)), epoch).ranking))
    assert found[0] != found[1]


def test_a_frozen_alignment_stays_and_resumes(tmp_path: Path) -> None:
    options = tuned(alignment="frozen")
    loop = loop_of(options)
    assert loop.model.semantic is not None
    before = [weight.clone() for weight in loop.model.semantic.parameters()]
    loop.run_epoch()
    assert all(map(torch.equal, before, loop.model.semantic.parameters()))

    whole = fitted(options, encoded(), on_validation=saved_in(tmp_path))
    assert losses(fitted(options, encoded(), resume_from=tmp_path / "2")) == losses(whole)
    assert losses(whole) != losses(fitted(tuned(), encoded()))


def test_a_learned_share_moves_and_resumes(tmp_path: Path) -> None:
    options = tuned(0.5, "learned")
    loop = loop_of(options)
    assert loop.model.semantic is not None
    assert float(loop.model.semantic.strength(1).detach()) == pytest.approx(0.5)
    for _ in range(3):
        loop.run_epoch()
    assert abs(float(loop.model.semantic.strength(1).detach()) - 0.5) > 1e-4

    whole = fitted(options, encoded(), on_validation=saved_in(tmp_path))
    assert losses(fitted(options, encoded(), resume_from=tmp_path / "2")) == losses(whole)


def test_a_rising_share_begins_low_and_arrives() -> None:
    strength = Strength(0.3, "rising", epochs=10)
    assert [strength(epoch) for epoch in (1, 5, 9)] == pytest.approx([0.06, 0.3, 0.3])

    rising = losses(fitted(tuned(0.3, "rising") | {"epochs": 4}, encoded()))
    at_half = losses(fitted(tuned(0.15), encoded()))
    assert rising[0] == at_half[0]  # the first of two epochs until the whole share
    assert rising[1] != at_half[1]


def softmax(weight: float, mode: str = "fixed") -> dict[str, Any]:
    semantic = {"source": "tuned", "extra": {"weight": weight, "mode": mode}}
    return PLAIN | {"loss": "softmax", "sampler": {"name": "uniform", "negatives": 4}, "semantic": semantic}


def test_softmax_losses_have_a_learned_weight() -> None:
    assert np.isfinite(losses(fitted(softmax(0.3, "learned"), encoded()))).all()
    assert losses(fitted(softmax(0.3, "learned"), encoded())) != losses(fitted(softmax(0.3), encoded()))


def test_one_more_negative_of_weight_one_counts_as_much_as_the_sampled_ones_together() -> None:
    """Of a pair whose negatives all score the same, the sum over negatives doubles."""
    loop = loop_of(softmax(1.0))
    assert loop.model.semantic is not None
    batch = next(iter(loop.stream.epoch(1)))
    users, has_vector = torch.ones(len(batch.users), 8), torch.from_numpy(batch.hard_rows >= 0)
    scene = SimpleNamespace(epoch=1, user=users, positive=users)
    negatives = Negatives(torch.zeros(len(users), 4, 8), torch.log(torch.rand(len(users), 4)))
    scores, weights, _ = loop.model.semantic(scene, batch.hard_rows, negatives, torch.zeros(len(users), 4))
    assert scores.shape == (len(users), 5)
    sampled, extra = weights[:, :4].exp().sum(dim=1), weights[:, 4].exp()
    torch.testing.assert_close(extra, torch.where(has_vector, sampled, 0.0))


def test_text_as_features_reaches_the_items_and_is_trained() -> None:
    with_text = PLAIN | {"item_text": True}
    result = fitted(with_text, texts=TEXTS)
    assert losses(result) != losses(fitted(PLAIN))
    assert losses(result) != losses(fitted(with_text, texts=TEXTS[::-1]))
    assert result.counts["parameters"] == fitted(PLAIN).counts["parameters"] + 6 * 8
    loop = loop_of(with_text)
    before = loop.model.text_map.detach().clone()  # type: ignore[union-attr]
    loop.run_epoch()
    assert not torch.equal(before, loop.model.text_map)  # type: ignore[arg-type]


def test_a_contrast_with_texts_pulls_items_to_them() -> None:
    plain = fitted(PLAIN)
    contrasted = PLAIN | {"text_contrast": {"weight": 1.0}}
    result = fitted(contrasted, texts=TEXTS)
    assert losses(result) != losses(plain)
    assert losses(result) != losses(fitted(contrasted, texts=TEXTS[::-1]))

    def agreement(items: Any) -> float:
        """How well the cosines of items tell those of their texts."""
        cosines = [
            unit @ unit.T for unit in (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (items, TEXTS))
        ]
        return float(np.corrcoef(*(part[np.triu_indices(len(TEXTS), 1)] for part in cosines))[0, 1])

    assert agreement(result.item_vectors) > agreement(plain.item_vectors) + 0.1
    loop = loop_of(contrasted)
    before = loop.model.text_layers.first.weight.detach().clone()  # type: ignore[union-attr]
    loop.run_epoch()
    assert not torch.equal(before, loop.model.text_layers.first.weight)  # type: ignore[union-attr]


@pytest.mark.parametrize("texts", [None, TEXTS[:5]], ids=["none", "too few"])
def test_missing_texts_are_one_sentence(texts: Any) -> None:
    with pytest.raises(DataError, match="item_text needs what the stage vectors writes for 30 items"):
        fitted(PLAIN | {"item_text": True}, texts=texts)


def test_vectors_without_items_cannot_be_retrieved() -> None:
    own = encoded()
    with pytest.raises(DataError, match=r"semantic\.source is retrieved"):
        fitted(retrieved(0.3), PairVectors(own.pairs, own.rows, own.vectors, 30))


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
    (tuned(0.0, use="candidates"), "needs items"),
    (retrieved(0.0) | {"semantic": CANDIDATES["semantic"]}, "takes no candidates: use dns or mixgcf"),
    (CANDIDATES | {"semantic": CANDIDATES["semantic"] | {"mixing": {"share": 0.5}}}, "mixing and extra have no effect"),
    (CANDIDATES | {"semantic": CANDIDATES["semantic"] | {"extra": {"weight": 0.5}}}, "mixing and extra have no effect"),
    (tuned(0.0, "learned"), r"a learned mixing\.share must start between 0 and 1, it is 0"),
    (softmax(1.0, "learned"), r"a learned extra\.weight must start between 0 and 1, it is 1"),
    (tuned() | {"loss": "bsl"}, r"semantic\.mixing has no effect with the softmax loss bsl: use semantic\.extra"),
    (softmax(0.3) | {"loss": "hinge"}, r"semantic\.extra has no effect with hinge, a loss over pairs"),
    ({"backbone": "ease", "item_text": True}, "no item embeddings"),
    ({"backbone": "ease", "text_contrast": {}}, "no item embeddings"),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_what_has_no_effect_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        VariantConfig.model_validate(options)
