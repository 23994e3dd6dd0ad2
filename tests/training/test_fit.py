"""One fit on one worker: known answers, the part that vectors play, resuming, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow.fs import LocalFileSystem

from hnlm_ray.config.backbones import LightGCNOptions, MFOptions
from hnlm_ray.config.samplers import DNSOptions, UniformOptions
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.kernels.ranking import ranked_block
from hnlm_ray.run.places import Folder
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.testing.worlds import checkerboard, random_world
from hnlm_ray.training import checkpoint
from hnlm_ray.training.fit import FitResult, fit
from hnlm_ray.training.loop import TrainingLoop, learning_rate_in
from hnlm_ray.training.side_information import SideInformation

TRAIN, VALID = random_world(40, 30, 0.2, 0)
BACKBONES = {"mf": MFOptions(), "lightgcn": LightGCNOptions()}
PLAIN = VariantConfig(dim=8, epochs=4, batch_size=64, learning_rate=0.01, validate_every=2)
SEMANTIC = {"mixing": {"share": 0.3}, "contrast": {"weight": 0.1}}


def semantic(options: dict[str, Any], variant: VariantConfig = PLAIN) -> VariantConfig:
    return VariantConfig.model_validate({**variant.model_dump(), "semantic": options})


def pair_vectors(share: float = 0.5, scale: float = 1.0) -> PairVectors:
    rng = np.random.default_rng(0)
    chosen = TRAIN.keys[rng.random(len(TRAIN)) < share]
    return PairVectors(
        chosen,
        rng.integers(30, size=len(chosen)).astype(np.int32),
        (scale * rng.normal(size=(30, 5))).astype(np.float16),
        30,
    )


def losses(result: FitResult) -> list[float]:
    return [record.loss for record in result.progress.history]


@pytest.mark.parametrize("backbone", ["mf", "lightgcn"])
def test_the_withheld_item_of_a_checkerboard_comes_first(backbone: str) -> None:
    train, valid, withheld = checkerboard(24, 16)
    variant = VariantConfig(
        backbone=backbone, dim=8, epochs=60, batch_size=32, learning_rate=0.02, l2=1e-2, validate_every=10, patience=60
    )
    result = fit(train, valid, variant, seed=0)
    top = ranked_block(result.user_vectors, result.item_vectors, train, 1).items[:, 0]
    np.testing.assert_array_equal(top, withheld)
    assert result.progress.best_ndcg == 1.0
    history = losses(result)
    assert history[-1] < 0.5 * history[0]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    first, again, other = (fit(TRAIN, VALID, PLAIN, seed) for seed in (0, 0, 1))
    assert losses(first) == losses(again)
    np.testing.assert_array_equal(first.user_vectors, again.user_vectors)
    assert losses(first) != losses(other)


@pytest.mark.parametrize("backbone", ["mf", "lightgcn"])
def test_a_share_of_zero_is_the_plain_sampler_bit_for_bit(backbone: str) -> None:
    variant = PLAIN.model_copy(update={"backbone": BACKBONES[backbone]})
    plain = fit(TRAIN, VALID, variant, 0)
    controlled = fit(TRAIN, VALID, semantic({}, variant), 0, side=SideInformation(vectors=pair_vectors()))
    assert losses(plain) == losses(controlled)
    assert plain.user_vectors.tobytes() == controlled.user_vectors.tobytes()
    assert plain.item_vectors.tobytes() == controlled.item_vectors.tobytes()


@pytest.mark.parametrize("part", [{"mixing": {"share": 0.3}}, {"contrast": {"weight": 0.1}}])
def test_perturbing_the_vectors_changes_the_loss(part: dict[str, Any]) -> None:
    variant = semantic(part)
    vectors = pair_vectors()
    moved = vectors.vectors.copy()
    moved[0] += 0.5
    perturbed = PairVectors(vectors.pairs, vectors.rows, moved, vectors.n_items)
    assert losses(fit(TRAIN, VALID, variant, 0, side=SideInformation(vectors=vectors))) != losses(
        fit(TRAIN, VALID, variant, 0, side=SideInformation(vectors=perturbed))
    )


def test_pairs_without_a_vector_fall_back_to_the_plain_sampler_and_are_counted() -> None:
    nothing = PairVectors(np.empty(0, np.int64), np.empty(0, np.int32), np.ones((3, 5), np.float16), 30)
    result = fit(TRAIN, VALID, semantic(SEMANTIC), 0, side=SideInformation(vectors=nothing))
    assert result.counts["pairs_with_vector"] == 0
    assert losses(result) == losses(fit(TRAIN, VALID, PLAIN, 0))
    some = pair_vectors()
    counts = fit(TRAIN, VALID, semantic(SEMANTIC), 0, side=SideInformation(vectors=some)).counts
    assert counts["pairs_with_vector"] == len(some.pairs)
    assert counts["pairs"] == len(TRAIN.items)


@pytest.mark.parametrize("part", [{"mixing": {"share": 0.3}}, {"contrast": {"weight": 0.1}}])
def test_every_weight_of_the_alignment_gets_a_gradient_and_moves(part: dict[str, Any]) -> None:
    before: dict[str, torch.Tensor] = {}
    moved: dict[str, bool] = {}

    def watch(loop: TrainingLoop) -> None:
        assert loop.model.semantic is not None
        for name, weight in loop.model.semantic.named_parameters():
            assert weight.grad is not None
            assert weight.grad.abs().sum() > 0
            if name in before:
                moved[name] = not torch.equal(before[name], weight)
            before[name] = weight.detach().clone()

    fit(
        TRAIN,
        VALID,
        semantic(part),
        0,
        side=SideInformation(pair_vectors(share=1.0)),
        on_validation=watch,
    )
    assert len(moved) == 4
    assert all(moved.values())


@pytest.mark.parametrize("mode", ["fixed", "cosine"])
def test_a_resumed_fit_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path, mode: str) -> None:
    variant = semantic(SEMANTIC).model_copy(update={"learning_rate_mode": mode})

    def save(loop: TrainingLoop) -> None:
        (tmp_path / str(loop.progress.epoch)).mkdir()
        checkpoint.save(loop, tmp_path / str(loop.progress.epoch))

    whole = fit(TRAIN, VALID, variant, 0, side=SideInformation(vectors=pair_vectors()), on_validation=save)
    resumed = fit(TRAIN, VALID, variant, 0, side=SideInformation(vectors=pair_vectors()), resume_from=tmp_path / "2")
    assert losses(resumed) == losses(whole)
    assert resumed.user_vectors.tobytes() == whole.user_vectors.tobytes()
    tensors, progress = checkpoint.best_tensors(tmp_path / "4")
    np.testing.assert_array_equal(tensors["user_vectors"].numpy(), whole.user_vectors)
    np.testing.assert_array_equal(tensors["item_vectors"].numpy(), whole.item_vectors)
    assert progress == whole.progress
    folder = Folder(LocalFileSystem(), str(tmp_path))
    assert checkpoint.latest_progress(folder) == whole.progress
    assert checkpoint.latest_progress(folder.folder("none")) is None
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / checkpoint.SHARED).write_bytes(b"half")
    with pytest.raises(ValueError, match="Expecting value"):
        checkpoint.latest_progress(folder)


def test_the_learning_rate_falls_along_a_half_cosine() -> None:
    falling = PLAIN.model_copy(update={"learning_rate_mode": "cosine", "epochs": 8})
    rates = [learning_rate_in(epoch, falling) for epoch in range(1, 9)]
    assert rates[0] == falling.learning_rate
    assert rates[4] == pytest.approx(falling.learning_rate / 2)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.05 * rates[0]
    assert {learning_rate_in(epoch, PLAIN) for epoch in range(1, 9)} == {PLAIN.learning_rate}
    # The first epoch is the same one, the second is not.
    fixed = fit(TRAIN, VALID, PLAIN.model_copy(update={"epochs": 8}), 0)
    assert losses(fit(TRAIN, VALID, falling, 0))[0] == losses(fixed)[0]
    assert losses(fit(TRAIN, VALID, falling, 0))[1:3] != losses(fixed)[1:3]


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best() -> None:
    seen: dict[int, tuple[float, np.ndarray]] = {}

    def watch(loop: TrainingLoop) -> None:
        ndcg = loop.progress.history[-1].valid_ndcg
        assert ndcg is not None
        seen[loop.progress.epoch] = ndcg, loop.model.final_vectors()[0].numpy()

    variant = PLAIN.model_copy(update={"epochs": 500, "validate_every": 1, "patience": 3, "learning_rate": 0.05})
    progress = (result := fit(TRAIN, VALID, variant, 0, on_validation=watch)).progress
    assert progress.epoch < 500
    assert progress.epoch == progress.best_epoch + 3
    assert progress.best_ndcg == max(ndcg for ndcg, _ in seen.values()) == seen[progress.best_epoch][0]
    np.testing.assert_array_equal(result.user_vectors, seen[progress.best_epoch][1])


def test_the_last_epoch_is_validated_even_off_the_rhythm() -> None:
    history = fit(TRAIN, VALID, PLAIN.model_copy(update={"epochs": 3}), 0).progress.history
    assert [record.valid_ndcg is not None for record in history] == [False, True, True]


def test_what_cannot_be_trained_is_refused_in_a_sentence() -> None:
    none = TRAIN.slice_users(0, 0)
    with pytest.raises(DataError, match="train split is empty"):
        fit(none, none, PLAIN, 0)
    with pytest.raises(DataError, match="no vectors"):
        fit(TRAIN, VALID, semantic(SEMANTIC), 0)
    with pytest.raises(DataError, match="number users and items once"):
        fit(TRAIN, VALID.slice_users(0, 5), PLAIN, 0)
    other = PairVectors(np.array([1]), np.array([0], np.int32), np.ones((1, 5), np.float32), 31)
    with pytest.raises(DataError, match="31 items"):
        fit(TRAIN, VALID, semantic(SEMANTIC), 0, side=SideInformation(vectors=other))
    with pytest.raises(DataError, match="name no items"):
        fit(TRAIN, VALID, semantic({**SEMANTIC, "source": "item"}), 0, side=SideInformation(vectors=pair_vectors()))
    fit(
        TRAIN, VALID, PLAIN.model_copy(update={"epochs": 1}), 0, side=SideInformation(vectors=other)
    )  # ignored: the variant is not semantic


def test_an_empty_validation_split_is_refused_before_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Interactions.from_pairs(np.array([], int), np.array([], int), TRAIN.n_users, TRAIN.n_items)
    monkeypatch.setattr(TrainingLoop, "run_epoch", lambda loop: pytest.fail("an epoch was run"))
    with pytest.raises(DataError, match="no user has a validation interaction"):
        fit(TRAIN, nobody, PLAIN, 0)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (DNSOptions(candidates=31), "dns would draw 31 candidates from 30 items"),
        (UniformOptions(negatives=31, shared=True), "uniform would draw 31 negatives from 30 items"),
    ],
    ids=str,
)
def test_more_draws_than_items_are_refused_and_as_many_are_not(
    sampler: DNSOptions | UniformOptions, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        fit(TRAIN, VALID, PLAIN.model_copy(update={"sampler": sampler}), 0)
    option = "candidates" if isinstance(sampler, DNSOptions) else "negatives"
    fewer = sampler.model_copy(update={option: 30})
    fit(TRAIN, VALID, PLAIN.model_copy(update={"sampler": fewer, "epochs": 1}), 0)


def test_users_who_have_met_every_item_are_left_out_and_counted() -> None:
    users, items = np.concatenate([TRAIN.users, np.full(30, 40)]), np.concatenate([TRAIN.items, np.arange(30)])
    train = Interactions.from_pairs(users, items, 41, 30)
    valid = Interactions.from_pairs(VALID.users, VALID.items, 41, 30)
    result = fit(train, valid, PLAIN, 0)
    assert result.counts["pairs"] == len(train)
    assert result.counts["pairs_without_negative"] == 30
    assert np.isfinite(losses(result)).all()
    everything = train.slice_users(40, 41)
    with pytest.raises(DataError, match="seen every item"):
        fit(everything, everything, PLAIN, 0)


def test_a_checkpoint_of_another_model_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    fit(TRAIN, VALID, PLAIN, 0, on_validation=lambda loop: checkpoint.save(loop, tmp_path))
    with pytest.raises(StoreError, match="another model"):
        fit(TRAIN, VALID, PLAIN.model_copy(update={"dim": 4}), 0, resume_from=tmp_path)
    next(tmp_path.glob("users-*")).write_bytes(b"x")
    with pytest.raises(StoreError, match="cannot be read"):
        fit(TRAIN, VALID, PLAIN, 0, resume_from=tmp_path)
    next(tmp_path.glob("users-*")).unlink()
    with pytest.raises(StoreError, match="lacks rows"):
        fit(TRAIN, VALID, PLAIN, 0, resume_from=tmp_path)
