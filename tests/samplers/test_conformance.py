"""Every shipped sampler passes the suite that is there for one's own, on drawn worlds too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.config.samplers import (
    AHNSOptions,
    DENSOptions,
    DNSOptions,
    InBatchOptions,
    MixGCFOptions,
    PopularitySamplerOptions,
    Sampler,
    SoftmaxImportanceOptions,
    UniformOptions,
)
from hnlm_ray.config.section import kinds
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.samplers.build import build_sampler
from hnlm_ray.samplers.protocol import Negatives, Scene, Setting, chosen_items
from hnlm_ray.testing.samplers import (
    SAMPLER_CHECKS,
    Make,
    Tables,
    check_blocks,
    check_draws,
    check_gradients,
    check_unseen,
    scene_of,
    setting_of,
)
from hnlm_ray.testing.worlds import random_world

OPTIONS: list[Sampler] = [
    UniformOptions(),
    UniformOptions(negatives=5),
    UniformOptions(negatives=5, rejection="skip"),
    UniformOptions(negatives=40, shared=True),
    PopularitySamplerOptions(negatives=2),
    InBatchOptions(),
    InBatchOptions(correct=False),
    DNSOptions(),
    DNSOptions(candidates=16, top=4),
    SoftmaxImportanceOptions(),
    MixGCFOptions(),
    DENSOptions(),
    DENSOptions(warmup=1),
    AHNSOptions(),
]


def maker(options: Sampler) -> Make:
    return lambda setting: build_sampler(options, setting)


def test_every_sampler_is_here() -> None:
    assert {type(options) for options in OPTIONS} == set(kinds(Sampler).values())


@pytest.mark.parametrize("check", SAMPLER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_sampler_does_what_every_sampler_must(options: Sampler, check: Callable[[Make], None]) -> None:
    check(maker(options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_sampler_needs_what_its_options_declare(options: Sampler) -> None:
    sampler = build_sampler(options, setting_of(random_world(12, 15, 0.3, 0)[0], 4))
    assert (sampler.needs_layers, sampler.needs_batch) == (options.needs_layers, options.needs_batch)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_extra_candidates_join_those_of_a_sampler_whose_options_say_so(options: Sampler) -> None:
    train, _ = random_world(12, 15, 0.3, 0)
    tables = Tables.random(train)
    scene = scene_of(train, tables)
    unmet = torch.from_numpy(~train.contains(scene.users.numpy()[:, None], np.arange(15)[None]))
    extra = torch.where(unmet, torch.arange(15), -1)
    sampler = build_sampler(options, setting_of(train, tables.dim))
    alone, joined = (sampler(one).vectors for one in (scene, dataclasses.replace(scene, extra=extra)))
    assert torch.equal(alone, joined) != options.takes_candidates


worlds = st.builds(random_world, st.integers(1, 12), st.integers(2, 15), st.floats(0.0, 1.0), st.integers(0, 2**31))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@given(world=worlds, seed=st.integers(0, 2**62))
@settings(max_examples=12)
def test_nobody_gets_what_they_have_met(options: Sampler, world: tuple[Interactions, Interactions], seed: int) -> None:
    check_unseen(maker(options), world[0], seed)


class Careless:
    """Gives the item after the positive, whoever asks."""

    needs_layers = False
    needs_batch = False

    def __init__(self, setting: Setting) -> None:
        self.n_items = setting.train.n_items

    def __call__(self, scene: Scene) -> Negatives:
        return chosen_items(scene, ((scene.items + 1) % self.n_items)[:, None])


class Undetached(Careless):
    """Differentiates its choice."""

    def __call__(self, scene: Scene) -> Negatives:
        weights = (scene.user @ scene.table.T).softmax(dim=1)
        return Negatives((weights @ scene.table)[:, None])


class Sequential(Careless):
    """Draws one after another, so that a draw depends on the rows before it."""

    def __call__(self, scene: Scene) -> Negatives:
        generator = torch.Generator().manual_seed(0)
        return chosen_items(scene, torch.randint(self.n_items, (len(scene.users), 1), generator=generator))


@pytest.mark.parametrize(
    ("check", "sampler"),
    [(check_unseen, Careless), (check_draws, Careless), (check_gradients, Undetached), (check_blocks, Sequential)],
)
def test_the_suite_finds_the_faults_it_is_for(check: Callable[[Make], None], sampler: type[Careless]) -> None:
    with pytest.raises(AssertionError):
        check(sampler)
