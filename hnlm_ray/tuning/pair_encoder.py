"""The form that reads user and item together, in one sequence per pair, as in the publication (HNLMRec).

::

    [P_u e_u] user text [P_i e_i] item text  ->  body  ->  mean or last token  ->  head  ->  unit length

``e_u`` and ``e_i`` are the teacher's vectors, projected to soft tokens of the body's input space. This is the only
definition: tuning runs it whole in PyTorch, and inference runs :meth:`PairEncoder.embed` and
:meth:`PairEncoder.finish` around a body that vLLM runs and pools.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from hnlm_ray.tuning.encoder import Encoder, Inputs, Numbers
from hnlm_ray.tuning.tokens import Layout, TokenRows, lay_out

__all__ = ["PairEncoder", "tensors_of"]


class PairEncoder(Encoder):
    """A sequence per pair.

    Attributes:
        head: from the body's output to the teacher's space.
    """

    def _make_heads(self, dim: int) -> list[nn.Linear]:
        """See :class:`hnlm_ray.tuning.encoder.Encoder`."""
        self.head = nn.Linear(self.hidden, dim)
        return [self.head]

    @classmethod
    def inputs(cls, user_tokens: TokenRows, item_tokens: TokenRows, users: Numbers, items: Numbers) -> Inputs:
        """See :class:`hnlm_ray.tuning.encoder.Encoder`."""
        return Inputs(tensors_of(lay_out(user_tokens, item_tokens, users, items)), users, items)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, item_places: torch.Tensor, users: torch.Tensor, items: torch.Tensor
    ) -> torch.Tensor:
        """Unit vectors (B, dim) float32.

        Args:
            ids: (B, L) int64, of a :class:`hnlm_ray.tuning.tokens.Layout`, like the next two.
            mask: (B, L) bool.
            item_places: (B,) int64.
            users: (B, dim) the teacher's vectors of the users.
            items: (B, dim) those of the items.
        """
        return self.finish(self._through_body(self.embed(ids, item_places, users, items), mask))

    def embed(
        self, ids: torch.Tensor, item_places: torch.Tensor, users: torch.Tensor, items: torch.Tensor
    ) -> torch.Tensor:
        """The input of the body (B, L, hidden): embedded words, and the projected vectors in their places.

        Arguments as in :meth:`forward`.
        """
        words, rows = self._words(ids), torch.arange(len(ids), device=ids.device)
        user, item = self._soft_users(users).to(words.dtype), self._soft_items(items).to(words.dtype)
        places = torch.stack([torch.zeros_like(item_places), item_places], dim=1)
        return words.index_put((rows[:, None], places), torch.stack([user, item], dim=1))

    def finish(self, pooled: torch.Tensor) -> torch.Tensor:
        """Unit vectors (B, dim) float32 from the pooled output of the body (B, hidden)."""
        return functional.normalize(self.head(pooled.to(self.head.weight.dtype)).float(), dim=-1)


def tensors_of(layout: Layout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``ids``, ``mask`` and ``item_places`` of a layout, as :meth:`PairEncoder.forward` takes them."""
    return torch.from_numpy(layout.ids), torch.from_numpy(layout.mask), torch.from_numpy(layout.item_places)
