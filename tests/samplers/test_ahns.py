"""AHNS against its rule, one pair at a time."""

from __future__ import annotations

import pytest
import torch

from hnlm_ray.config.samplers import AHNSOptions
from hnlm_ray.samplers.ahns import AHNSSampler
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(9, 40, 0.2, 3)
SCENE = scene_of(TRAIN, Tables.random(TRAIN), epoch=2)
SCORES = (SCENE.user @ SCENE.table.T).detach().double()


@pytest.mark.parametrize("options", [AHNSOptions(), AHNSOptions(candidates=5, alpha=1.0, beta=0.1, p=-3.5)], ids=str)
def test_the_candidate_nearest_to_the_target_is_chosen(options: AHNSOptions) -> None:
    items = AHNSSampler(options, setting_of(TRAIN, 5))(SCENE).items
    drawn = UnseenItems(TRAIN, 0, torch.device("cpu")).draw(SCENE.users, SCENE.places, 2, options.candidates)
    assert items is not None
    for pair, positive in enumerate(SCENE.items.tolist()):
        score = max(0.0, SCORES[pair, positive].item())
        target = options.beta * (score + options.alpha) ** (options.p + 1.0)
        distances = [abs(SCORES[pair, item].item() - target) for item in drawn[pair].tolist()]
        assert abs(SCORES[pair, items[pair, 0]].item() - target) == pytest.approx(min(distances), abs=1e-5)


def test_a_well_ranked_positive_gets_an_easier_negative() -> None:
    sampler = AHNSSampler(AHNSOptions(candidates=200, alpha=0.5, beta=1.0), setting_of(TRAIN, 5))
    items = sampler(SCENE).items
    assert items is not None
    positive = SCORES.gather(1, SCENE.items[:, None]).squeeze(1)
    negative = SCORES.gather(1, items).squeeze(1)
    high, low = positive > 0.8, positive < 0.1
    assert high.sum() > 3
    assert low.sum() > 3
    assert negative[high].mean() + 0.1 < negative[low].mean()
