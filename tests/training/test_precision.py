"""Mixed precision: rounded products, and everything else in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.testing.backbones import shuffled_histories
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.fit import FitResult, fit
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.side_information import SideInformation

TRAIN, VALID = random_world(40, 30, 0.2, 0)
RNG = np.random.default_rng(0)
SIDE = SideInformation(
    vectors=PairVectors(
        TRAIN.keys[::2],
        RNG.integers(9, size=len(TRAIN.keys[::2])).astype(np.int32),
        RNG.normal(size=(9, 5)).astype(np.float32),
        30,
    ),
    item_texts=RNG.normal(size=(30, 6)).astype(np.float32),
    item_graph=csr_array(RNG.random((30, 30)) * (RNG.random((30, 30)) < 0.1), dtype=np.float32),
    item_features=csr_array(RNG.random((30, 4)), dtype=np.float32),
    histories=shuffled_histories(TRAIN),
)
SHARED = {"sampler": {"name": "uniform", "negatives": 8, "shared": True}}
VARIANTS: dict[str, dict[str, Any]] = {
    "mf": {"backbone": "mf"},
    "lightgcn": {"sampler": "dns"},
    "ngcf": {"backbone": "ngcf"},
    "simgcl": {"backbone": "simgcl", "loss": "softmax", **SHARED},
    "directau": {"backbone": "directau"},
    "sasrec": {"backbone": "sasrec", "loss": "gbce", **SHARED},
    "mixgcf": {"sampler": "mixgcf"},
    "dens": {"sampler": "dens"},
    "sl_at_k": {"loss": "sl_at_k"},
    "texts": {"item_text": True, "item_graph": {}, "item_features": True, "text_contrast": {"weight": 0.1}},
    "semantic": {"semantic": {"mixing": {"share": 0.3}, "contrast": {"weight": 0.1}}},
}


def trained(options: dict[str, Any], precision: str, **more: Any) -> FitResult:
    usual = {"dim": 8, "epochs": 4, "batch_size": 64, "learning_rate": 0.01, "validate_every": 2}
    variant = VariantConfig.model_validate({**usual, **options, "precision": precision})
    return fit(TRAIN, VALID, variant, 0, side=SIDE, **more)


@pytest.mark.parametrize("name", VARIANTS)
def test_losses_stay_near_those_of_float32(name: str) -> None:
    found: list[list[float]] = []
    for precision in ("float32", "bfloat16"):
        result = trained(VARIANTS[name], precision)
        assert result.user_vectors.dtype == result.item_vectors.dtype == np.float32
        assert np.isfinite(result.user_vectors).all()
        found.append([record.loss for record in result.progress.history])
    if name == "directau":  # it has no product but the one that must not be rounded
        assert found[0] == found[1]
        return
    assert found[0] != found[1], "nothing is rounded"
    assert found[1] == pytest.approx(found[0], rel=0.03)


def test_parameters_gradients_and_moments_are_float32() -> None:
    def look(loop: TrainingLoop) -> None:
        for parameter in loop.model.parameters():
            if parameter.requires_grad:
                assert parameter.dtype == torch.float32
                assert parameter.grad is None or parameter.grad.dtype == torch.float32
                assert loop.optimizer.state[parameter]["exp_avg"].dtype == torch.float32

    trained(VARIANTS["sasrec"], "bfloat16", on_validation=look)
