"""DENS (Lai et al., "Disentangled Negative Sampling for Collaborative Filtering", WSDM 2023).

Gates split the positive ``p`` into factors that are relevant to the user, ``p_r = p * sigmoid(W1 p + W2 u)``, and the
rest ``p_i = p - p_r``; those of a candidate ``n`` depend on ``p_r``: ``n_r = n * sigmoid(W3 n + W4 p_r)``. On each
layer the candidate with the largest ``<u, (1 - w) n - n_r>`` is chosen. The weight ``w = min(1, t / warmup)``, with
``t`` the number of epochs before this one, moves the choice from hard candidates to those that are similar in
irrelevant factors.
A contrastive term, the mean of four BPR terms over the means of the layers, trains the gates: ``p_r > p_i``,
``n_i > n_r``, ``p_r > n_r``, ``n_i > p_i``. Follows the authors' code (Riwei-HEU/DENS).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from hnlm_ray import seeds
from hnlm_ray.config.samplers import DENSOptions
from hnlm_ray.kernels.rows import inner_products, rows_of
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.samplers.protocol import Negatives, Scene, Setting, without_excluded

__all__ = ["DENSSampler"]


class DENSSampler(nn.Module):
    """Gives one negative per pair: the mean over layers of the chosen candidates."""

    needs_layers = DENSOptions.needs_layers
    needs_batch = False

    def __init__(self, options: DENSOptions, setting: Setting) -> None:
        """Prepare; the gates start from values derived from the seed, the same on every worker."""
        super().__init__()
        self._options = options
        self._items = UnseenItems(setting.train, setting.seed, setting.device)
        self.positive_gate = nn.Linear(setting.dim, setting.dim)
        self.user_gate = nn.Linear(setting.dim, setting.dim)
        self.negative_gate = nn.Linear(setting.dim, setting.dim)
        self.relevant_gate = nn.Linear(setting.dim, setting.dim)
        generator = torch.Generator().manual_seed(seeds.derive(setting.seed, "init", "dens"))
        for gate in (self.positive_gate, self.user_gate, self.negative_gate, self.relevant_gate):
            nn.init.xavier_uniform_(gate.weight, generator=generator)
            nn.init.zeros_(gate.bias)
        self.to(setting.device)

    def forward(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        drawn = self._items.draw(scene.users, scene.places, scene.epoch, self._options.candidates)
        warm = min(1.0, (scene.epoch - 1) / self._options.warmup)
        factors, chosen = [], []
        for user, positive, table in zip(scene.user_layers, scene.positive_layers, scene.table_layers, strict=True):
            relevant = positive * torch.sigmoid(self.positive_gate(positive) + self.user_gate(user))
            with torch.no_grad():
                candidates = rows_of(table, drawn)
                hardness = (1.0 - warm) * candidates - self._relevant(candidates, relevant[:, None])
                scores = without_excluded(scene, drawn, inner_products(hardness, user))
                best = drawn.gather(1, scores.argmax(dim=1, keepdim=True))
            negative = rows_of(table, best.squeeze(1))
            factors.append(torch.stack([positive, relevant, negative, self._relevant(negative, relevant)]))
            chosen.append(best)
        positive, relevant, negative, negative_relevant = torch.stack(factors).mean(dim=0)
        parts = relevant, positive - relevant, negative_relevant, negative - negative_relevant
        penalty = self._options.gamma * _contrast(scene.user, *parts)
        return Negatives(negative[:, None], items=torch.cat(chosen, dim=1), penalty=penalty)

    __call__ = nn.Module.__call__

    def _relevant(self, negative: torch.Tensor, relevant: torch.Tensor) -> torch.Tensor:
        gated: torch.Tensor = negative * torch.sigmoid(self.negative_gate(negative) + self.relevant_gate(relevant))
        return gated


def _contrast(user: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
    """The sum over the batch of the mean of the four BPR terms.

    Args:
        user: (B, d).
        parts: four (B, d): relevant and irrelevant factors of the positive, then of the negative.
    """
    p_rel, p_irr, n_rel, n_irr = ((user * part).sum(dim=1) for part in parts)
    gaps = torch.stack([p_irr - p_rel, n_rel - n_irr, n_rel - p_rel, p_irr - n_irr])
    return functional.softplus(gaps).mean(dim=0).sum()
