"""Every backbone, sampler and loss that the configuration lets through trains without a NaN."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from hnlm_ray.config.backbones import Backbone, DirectAUOptions, MFOptions
from hnlm_ray.config.losses import Loss
from hnlm_ray.config.samplers import Sampler, UniformOptions
from hnlm_ray.config.section import kinds
from hnlm_ray.config.semantic import SemanticOptions
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.testing.backbones import shuffled_histories
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.fit import fit
from hnlm_ray.training.side_information import SideInformation

TRAIN, VALID = random_world(20, 15, 0.25, 0)
ORDER = SideInformation(histories=shuffled_histories(TRAIN))
SAMPLER_OPTIONS: list[Sampler] = [
    *(section() for section in kinds(Sampler).values() if "candidates" not in section.model_fields),
    *(section(candidates=6) for section in kinds(Sampler).values() if "candidates" in section.model_fields),
    UniformOptions(negatives=6, shared=True),
    UniformOptions(negatives=2, rejection="skip"),
]
LOSSES = kinds(Loss).values()
TRAINED = [section for section in kinds(Backbone).values() if section.is_trained]


def allowed(backbone: type) -> list[VariantConfig]:
    """What the configuration accepts of one backbone; DirectAU reads neither sampler nor loss."""
    found = []
    for sampler, loss in itertools.product(SAMPLER_OPTIONS, LOSSES):
        parts = {"backbone": backbone(), "sampler": sampler, "loss": loss()}
        try:
            found.append(VariantConfig(**parts, dim=4, epochs=1, batch_size=64, learning_rate=0.01))
        except ValidationError:
            continue
    return found[:1] if backbone is DirectAUOptions else found


@pytest.mark.parametrize("backbone", TRAINED, ids=lambda section: section.model_fields["name"].default)
def test_whatever_is_accepted_trains(backbone: type) -> None:
    accepted = allowed(backbone)
    assert len(accepted) > 40 or backbone is DirectAUOptions
    for variant in accepted:
        name = f"{variant.sampler}, {variant.loss}"
        result = fit(TRAIN, VALID, variant, 0, side=ORDER)
        assert np.isfinite(result.progress.history[0].loss), name
        assert np.isfinite(result.user_vectors).all(), name
        assert np.isfinite(result.item_vectors).all(), name


@pytest.mark.parametrize("source", ["text", "item"])
def test_whatever_is_accepted_trains_with_semantic_negatives(source: str) -> None:
    rng = np.random.default_rng(0)
    pairs = TRAIN.keys[::2]
    rows, items = rng.integers(5, size=len(pairs)).astype(np.int32), np.arange(5, dtype=np.int32)[:, None]
    vectors = PairVectors(pairs, rows, rng.normal(size=(5, 3)).astype(np.float32), 15, items)
    for variant in allowed(MFOptions):
        strength = {"extra": {"weight": 0.2}} if variant.loss.is_softmax else {"mixing": {"share": 0.2}}
        options = SemanticOptions.model_validate({"source": source, "contrast": {"weight": 0.1}, **strength})
        result = fit(
            TRAIN, VALID, variant.model_copy(update={"semantic": options}), 0, side=SideInformation(vectors=vectors)
        )
        assert np.isfinite(result.progress.history[0].loss), f"{variant.sampler}, {variant.loss}"
        assert result.counts["pairs_with_vector"] == len(pairs)
