"""Each backbone against its published formula, written out densely in float64 and without the code under test."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlm_ray import seeds
from hnlm_ray.config.backbones import (
    DirectAUOptions,
    LightGCNOptions,
    NGCFOptions,
    SGLOptions,
    SimGCLOptions,
    XSimGCLOptions,
)
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.hashing import uniform_rows
from hnlm_ray.models.directau import DirectAU
from hnlm_ray.models.lightgcn import LightGCN
from hnlm_ray.models.ngcf import NGCF
from hnlm_ray.models.noise import kept_coordinates
from hnlm_ray.models.protocol import Draw, Layer
from hnlm_ray.models.sgl import SGL
from hnlm_ray.models.simgcl import SimGCL
from hnlm_ray.models.xsimgcl import XSimGCL
from hnlm_ray.testing.backbones import first_layer, lonely_world, normalised_adjacency
from hnlm_ray.training.graph import InteractionGraph

TRAIN = lonely_world()
GRAPH = InteractionGraph(TRAIN, 0, TRAIN.item_popularity, torch.device("cpu"))
USERS, ITEMS = first_layer(TRAIN)
JOINED = torch.cat([USERS, ITEMS]).detach().double().numpy()
DRAW = Draw(epoch=2, step=3)
SEED = 5


def powers(adjacency: np.ndarray, layers: int) -> list[np.ndarray]:
    """``A^l E`` for ``l`` from 0."""
    return [np.linalg.matrix_power(adjacency, power) @ JOINED for power in range(layers + 1)]


def assert_is(layer: Layer, expected: np.ndarray) -> None:
    np.testing.assert_allclose(torch.cat(layer).detach(), expected, rtol=1e-4, atol=1e-5)


def test_lightgcn_is_the_mean_of_the_powers() -> None:
    expected = powers(normalised_adjacency(TRAIN), 3)
    encoding = LightGCN(LightGCNOptions(layers=3), GRAPH, 6, SEED).encode(USERS, ITEMS, layers=True)
    assert_is(encoding.final, np.mean(expected, axis=0))
    for layer, power in zip(encoding.layers, expected, strict=True):
        assert_is(layer, power)


def test_directau_encodes_by_its_number_of_layers() -> None:
    for layers in (0, 2):
        found = DirectAU(DirectAUOptions(layers=layers), GRAPH, 6, SEED).encode(USERS, ITEMS, DRAW).final
        assert_is(found, np.mean(powers(normalised_adjacency(TRAIN), layers), axis=0))


def test_ngcf_sums_the_messages_of_its_equations() -> None:
    """Equations 3 to 5 for each node: ``LeakyReLU(m_{u<-u} + sum of m_{u<-i})``, with the biases of the code."""
    model = NGCF(NGCFOptions(layers=2, dropout=0.0), GRAPH, 6, SEED)
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
    neighbours: list[list[int]] = [[] for _ in range(len(JOINED))]
    for user, item in zip(TRAIN.users.tolist(), (TRAIN.items + TRAIN.n_users).tolist(), strict=True):
        neighbours[user].append(item)
        neighbours[item].append(user)
    rows, parts = JOINED, [JOINED]
    for first, second in zip(model.neighbour, model.product, strict=True):
        (w1, b1), (w2, b2) = ([part.detach().double().numpy() for part in one.parameters()] for one in (first, second))
        following = []
        for node, near in enumerate(neighbours):
            total = w1 @ rows[node] + b1 + b2
            for other in near:
                decay = 1.0 / np.sqrt(len(near) * len(neighbours[other]))
                total = total + decay * (w1 @ rows[other] + w2 @ (rows[other] * rows[node]))
            following.append(np.where(total > 0, total, 0.2 * total))
        rows = np.array(following)
        parts.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert_is(model.encode(USERS, ITEMS, DRAW).final, np.concatenate(parts, axis=1))


def test_ngcf_drops_coordinates_in_training_alone_and_keeps_their_scale() -> None:
    model = NGCF(NGCFOptions(layers=1, dropout=0.4), GRAPH, 6, SEED)
    whole = torch.cat(model.encode(USERS, ITEMS).final)[:, 6:]
    passes = [torch.cat(model.encode(USERS, ITEMS, Draw(1, step)).final)[:, 6:] for step in range(80)]
    dropped = torch.stack([one == 0 for one in passes]).float().mean(dim=0)
    assert not (whole == 0).any()
    assert (dropped - 0.4).abs().max() < 0.3
    assert abs(dropped.mean().item() - 0.4) < 0.02
    mask = kept_coordinates(torch.zeros(2000, 6), 0.4, SEED, ("test",), 0)
    assert set(mask.ravel().tolist()) == {0.0, float(torch.tensor(1.0) / 0.6)}
    assert abs(mask.mean().item() - 1.0) < 0.02


@pytest.mark.parametrize("drop", [0.0, 0.3, 0.999])
def test_sgl_contrasts_two_graphs_that_each_lost_edges(drop: float) -> None:
    encoding = SGL(SGLOptions(layers=2, drop=drop), GRAPH, 6, SEED).encode(USERS, ITEMS, DRAW)
    assert_is(encoding.final, np.mean(powers(normalised_adjacency(TRAIN), 2), axis=0))
    assert encoding.views is not None
    for view, found in enumerate(encoding.views):
        words = seeds.hash_counters(seeds.derive(SEED, "sgl", DRAW.epoch, view), TRAIN.keys)
        kept = words >= np.uint64(int(drop * 2.0**53) << 11)
        fewer = Interactions.from_pairs(TRAIN.users[kept], TRAIN.items[kept], TRAIN.n_users, TRAIN.n_items)
        assert drop != 0.3 or 0 < len(fewer) < len(TRAIN)
        assert_is(found, np.mean(powers(normalised_adjacency(fewer), 2), axis=0))


def noisy_layers(layers: int, noise: float, purpose: tuple[str | int, ...]) -> list[np.ndarray]:
    """``e' = A e + sign(A e) * noise * normalize(U(0, 1))`` (SimGCL, equations 6 and 7), hop after hop."""
    adjacency, rows, found = normalised_adjacency(TRAIN), JOINED, []
    for hop in range(1, layers + 1):
        rows = adjacency @ rows
        drawn = np.concatenate(
            [
                uniform_rows(SEED, (*purpose, hop, DRAW.epoch, DRAW.step, kind), 0, size, 6).double().numpy()
                for kind, size in (("users", TRAIN.n_users), ("items", TRAIN.n_items))
            ]
        )
        rows = rows + np.sign(rows) * noise * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        found.append(rows)
    return found


def test_simgcl_ranks_without_layer_0_and_contrasts_two_noisy_passes() -> None:
    encoding = SimGCL(SimGCLOptions(layers=3, noise=0.2), GRAPH, 6, SEED).encode(USERS, ITEMS, DRAW)
    assert_is(encoding.final, np.mean(powers(normalised_adjacency(TRAIN), 3)[1:], axis=0))
    assert encoding.views is not None
    for view, found in enumerate(encoding.views):
        assert_is(found, np.mean(noisy_layers(3, 0.2, ("simgcl", view)), axis=0))


def test_noise_has_its_length_and_keeps_the_orthant() -> None:
    model = SimGCL(SimGCLOptions(layers=1, noise=0.05), GRAPH, 6, SEED)
    encoding = model.encode(USERS, ITEMS, DRAW)
    assert encoding.views is not None
    plain, noisy = torch.cat(encoding.final), torch.cat(encoding.views[0])
    lonely = torch.zeros(len(plain), dtype=torch.bool)
    lonely[[TRAIN.n_users - 1, -1]] = True
    torch.testing.assert_close((noisy - plain).norm(dim=1), torch.where(lonely, 0.0, 0.05))
    assert (noisy.sign() == plain.sign()).all()


@pytest.mark.parametrize("contrast_layer", [1, 3])
def test_xsimgcl_ranks_by_its_noisy_pass_and_contrasts_it_with_one_layer(contrast_layer: int) -> None:
    options = XSimGCLOptions(layers=3, noise=0.2, contrast_layer=contrast_layer)
    model = XSimGCL(options, GRAPH, 6, SEED)
    layers = noisy_layers(3, 0.2, ("xsimgcl",))
    encoding = model.encode(USERS, ITEMS, DRAW)
    assert_is(encoding.final, np.mean(layers, axis=0))
    assert encoding.views is not None
    assert_is(encoding.views[0], np.mean(layers, axis=0))
    assert_is(encoding.views[1], layers[contrast_layer - 1])
    assert_is(model.encode(USERS, ITEMS).final, np.mean(powers(normalised_adjacency(TRAIN), 3)[1:], axis=0))
