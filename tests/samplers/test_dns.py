"""Dynamic negative sampling: the M best of N draws, each alike, whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from hnlm_ray.config.samplers import DNSOptions
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.samplers.dns import DNSSampler
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(6, 11, 0.5, 3)
TABLES = Tables.random(TRAIN)
EPOCHS = 400


@pytest.mark.parametrize(("candidates", "top"), [(1, 1), (4, 1), (4, 3), (4, 4), (30, 1), (30, 2)])
def test_an_item_is_chosen_as_often_as_its_rank_says(candidates: int, top: int) -> None:
    """The k-th best of N draws is among the r lowest of n items with the chance of N - k + 1 draws among them."""
    sampler = DNSSampler(DNSOptions(candidates=candidates, top=top), setting_of(TRAIN, 5))
    scenes = [scene_of(TRAIN, TABLES, epoch=epoch) for epoch in range(1, EPOCHS + 1)]
    chosen = torch.cat([sampler(scene).vectors.detach().squeeze(1) for scene in scenes])
    users = torch.cat([scene.users for scene in scenes])
    table = scenes[0].table.detach()
    items = (chosen[:, None] - table[None]).abs().sum(dim=2).argmin(dim=1)
    for user in range(TRAIN.n_users):
        scores = torch.stack(TABLES.users).mean(dim=0)[user] @ table.T
        unmet = np.setdiff1d(np.arange(TRAIN.n_items), TRAIN.row(user))
        ascending = unmet[np.argsort(scores.detach().numpy()[unmet])]
        observed = np.bincount(items[users == user], minlength=TRAIN.n_items)
        assert observed.sum() == observed[ascending].sum()
        share = np.arange(len(unmet) + 1) / len(unmet)
        below = np.mean([stats.binom.sf(candidates - k, candidates, share) for k in range(1, top + 1)], axis=0)
        expected = np.diff(below) * observed.sum()
        enough = expected > 4.0
        pooled = [np.append(part[enough], part[~enough].sum()) for part in (observed[ascending], expected)]
        kept = pooled[1] > 0.5
        if kept.sum() > 1:
            ratio = pooled[0][kept].sum() / pooled[1][kept].sum()
            assert stats.chisquare(pooled[0][kept], pooled[1][kept] * ratio).pvalue > 1e-5


def test_the_choice_is_among_the_best_of_the_candidates_drawn() -> None:
    scene = scene_of(TRAIN, TABLES, epoch=2)
    drawn = UnseenItems(TRAIN, 0, torch.device("cpu")).draw(scene.users, scene.places, 2, 8).numpy()
    scores = (scene.user @ scene.table.T).detach().numpy()
    for top in (1, 3):
        items = DNSSampler(DNSOptions(candidates=8, top=top), setting_of(TRAIN, 5))(scene).items
        assert items is not None
        for pair, chosen in enumerate(items[:, 0].tolist()):
            best = sorted(drawn[pair], key=lambda item, pair=pair: -scores[pair, item])[:top]
            assert chosen in best
