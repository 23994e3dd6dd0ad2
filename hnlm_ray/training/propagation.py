"""Exact full-graph LightGCN with the users divided over workers.

Worker ``r`` holds the rows ``R_r`` of the normalised user-item matrix. One hop is ``U_r <- R_r I``, which is local, and
``I <- sum over r of R_r^T U_r``, one all-reduce of the item table. The whole operator is linear and symmetric, so its
gradient is the operator itself: the backward pass runs the same code and nothing is saved between the two.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from hnlm_ray.errors import ResourceError
from hnlm_ray.models.lightgcn import edge_weights, mean_of_layers
from hnlm_ray.training.collectives import sum_over_workers
from hnlm_ray.training.shard import Shard

__all__ = ["Propagation"]

_MOST_PAIRS = 2**31 - 1


class Propagation:
    """The mean of layers 0 to L over a worker's users and all items."""

    def __init__(self, shard: Shard, layers: int, device: torch.device) -> None:
        """Lay out the block and its transpose.

        Both are CSR with int32 indices: on a CPU, PyTorch multiplies that about five times as fast as COO.

        Args:
            shard: the worker's users.
            layers: L; 0 is matrix factorisation.
            device: where embeddings are.

        Raises:
            ResourceError: the block has more interactions than an int32 can number.
        """
        train = shard.train
        if len(train) > _MOST_PAIRS:
            raise ResourceError(
                f"one worker would hold {len(train)} interactions, at most {_MOST_PAIRS} fit", "raise train.workers"
            )
        block = sparse.csr_array(
            (edge_weights(train, shard.item_degrees), train.items, train.offsets), shape=(train.n_users, train.n_items)
        )
        self._layers = layers
        self._block = _csr(block, device)
        self._transposed = _csr(sparse.csr_array(block.T), device)

    def __call__(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Propagate.

        Args:
            users: (U_r, d), this worker's rows.
            items: (I, d), equal on all workers.

        Returns:
            Two tensors of the same shapes. In the backward pass the gradient of the items must already be the sum
            over the workers, see :func:`hnlm_ray.training.collectives.replicate`; so is the one that comes out.
        """
        if self._layers == 0:
            return users, items
        final_users, final_items = _Symmetric.apply(self, users, items)  # type: ignore[no-untyped-call]
        return final_users, final_items

    def apply(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The operator itself, outside autograd."""
        return mean_of_layers(self._hop, users, items, self._layers)

    def _hop(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._block @ items, sum_over_workers(self._transposed @ users)


class _Symmetric(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, propagation: Propagation, users: torch.Tensor, items: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.propagation = propagation
        return propagation.apply(users, items)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor, torch.Tensor]:
        return None, *ctx.propagation.apply(*gradients)


def _csr(matrix: sparse.csr_array, device: torch.device) -> torch.Tensor:
    def tensor(array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    rows, columns = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
    # The layout comes from scipy, so PyTorch need not check it; it would also warn that its CSR is young.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        return torch.sparse_csr_tensor(
            tensor(rows),
            tensor(columns),
            tensor(matrix.data.astype(np.float32)),
            size=matrix.shape,
            device=device,
            check_invariants=False,
        )
