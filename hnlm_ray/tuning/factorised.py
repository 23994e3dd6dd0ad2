"""The form that reads each user once and each item once, and makes a pair's vector of the two.

::

    [P_u e_u] user text  ->  body  ->  mean or last token  ->  user head  ->  unit length  =  u
    [P_i e_i] item text  ->  body  ->  mean or last token  ->  item head  ->  unit length  =  i
    u + i + mixer(u, i, u * i)  ->  unit length

A pair costs two small layers instead of a pass through the body. ``u`` and ``i`` are in the teacher's space: items with
near ``i`` get near hard negatives. This is the only definition: tuning runs it whole in PyTorch; inference
runs :meth:`FactorisedEncoder.embed` and :meth:`FactorisedEncoder.finish` around a body in vLLM, once per text, and
:meth:`FactorisedEncoder.join` per pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hnlm_ray.tuning.encoder import Encoder, Inputs, Numbers
from hnlm_ray.tuning.tokens import TokenRows, lay_out_texts

__all__ = ["FactorisedEncoder", "Side"]

Side = Literal["user", "item"]

_WIDTH = 4
"""Width of the mixer's inner layer, in dimensions of the teacher."""


class FactorisedEncoder(Encoder):
    """A sequence per user and one per item.

    Attributes:
        user_head: from the body's output to the teacher's space, for users.
        item_head: the same for items.
        mixer: from ``[u, i, u * i]`` to the teacher's space, two layers.
    """

    def _make_heads(self, dim: int) -> list[nn.Linear]:
        """See :class:`hnlm_ray.tuning.encoder.Encoder`."""
        self.user_head, self.item_head = nn.Linear(self.hidden, dim), nn.Linear(self.hidden, dim)
        inner, outer = nn.Linear(3 * dim, _WIDTH * dim), nn.Linear(_WIDTH * dim, dim)
        self.mixer = nn.Sequential(inner, nn.GELU(), outer)
        return [self.user_head, self.item_head, inner, outer]

    @classmethod
    def inputs(cls, user_tokens: TokenRows, item_tokens: TokenRows, users: Numbers, items: Numbers) -> Inputs:
        """See :class:`hnlm_ray.tuning.encoder.Encoder`; a text that several pairs share is there once."""
        own_users, user_rows = np.unique(users, return_inverse=True)
        own_items, item_rows = np.unique(items, return_inverse=True)
        parts = (*lay_out_texts(user_tokens, own_users), user_rows, *lay_out_texts(item_tokens, own_items), item_rows)
        return Inputs(tuple(torch.from_numpy(part) for part in parts), own_users, own_items)

    def forward(
        self,
        user_ids: torch.Tensor,
        user_mask: torch.Tensor,
        user_rows: torch.Tensor,
        item_ids: torch.Tensor,
        item_mask: torch.Tensor,
        item_rows: torch.Tensor,
        users: torch.Tensor,
        items: torch.Tensor,
    ) -> torch.Tensor:
        """Unit vectors (B, dim) float32 of B pairs of m users and n items.

        Args:
            user_ids: (m, L) int64 token ids; 0 at the vector and padding.
            user_mask: (m, L) bool, False at padding.
            user_rows: (B,) int64, the row of each pair's user.
            item_ids: (n, L') like ``user_ids``.
            item_mask: (n, L') like ``user_mask``.
            item_rows: (B,) int64, the row of each pair's item.
            users: (m, dim) the teacher's vectors of the users.
            items: (n, dim) those of the items.
        """
        sides = (self.embed(user_ids, users, "user"), user_mask), (self.embed(item_ids, items, "item"), item_mask)
        of_users, of_items = self._each_through_body(*sides)
        u, i = self.finish(of_users, "user"), self.finish(of_items, "item")
        return self.join(u[user_rows], i[item_rows])

    def _each_through_body(self, *sides: tuple[torch.Tensor, torch.Tensor]) -> Sequence[torch.Tensor]:
        """The pooled outputs (B, hidden) of several embedded sequences (B, L, hidden) with their masks (B, L)."""
        if sides[0][0].device.type == "cpu":  # where a padded token costs as much as any other
            return [self._through_body(*side) for side in sides]
        # The texts of one batch do not fill a GPU: two passes take twice the time of one, whatever is padded.
        width = max(mask.shape[1] for _, mask in sides)
        gaps = [width - mask.shape[1] for _, mask in sides]
        embedded = [functional.pad(part, (0, 0, 0, gap)) for (part, _), gap in zip(sides, gaps, strict=True)]
        masks = [functional.pad(mask, (0, gap)) for (_, mask), gap in zip(sides, gaps, strict=True)]
        return torch.split(self._through_body(torch.cat(embedded), torch.cat(masks)), [len(mask) for mask in masks])

    def embed(self, ids: torch.Tensor, vectors: torch.Tensor, side: Side) -> torch.Tensor:
        """The input of the body (B, L, hidden): the projected vector, then embedded words.

        Args:
            ids: (B, L) int64 token ids, whose first column does not matter.
            vectors: (B, dim) the teacher's.
            side: what the texts describe.
        """
        words = self._words(ids)
        soft = self._soft_users(vectors) if side == "user" else self._soft_items(vectors)
        return torch.cat([soft[:, None].to(words.dtype), words[:, 1:]], dim=1)

    def finish(self, pooled: torch.Tensor, side: Side) -> torch.Tensor:
        """Unit vectors (B, dim) float32 of users or items, from the pooled output of the body (B, hidden)."""
        head = self.user_head if side == "user" else self.item_head
        return functional.normalize(head(pooled.to(head.weight.dtype)).float(), dim=-1)

    def join(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Unit vectors (B, dim) float32 of pairs, from those of their users and items, (B, dim) each."""
        scale = math.sqrt(users.shape[1])  # coordinates of about 1 for the mixer
        u, i = users * scale, items * scale
        mixed = self.mixer(torch.cat([u, i, u * i], dim=1).to(self.user_head.weight.dtype)).float()
        return functional.normalize(u + i + mixed, dim=-1)
