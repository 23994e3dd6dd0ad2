"""The parameters of one worker and the loss of one batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from hnlm_ray import seeds
from hnlm_ray.config.backbones import DirectAUOptions, SGLOptions
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.kernels.hashing import random_below
from hnlm_ray.kernels.rows import dense_gradient, inner_products, rows_of
from hnlm_ray.models.alignment import Alignment
from hnlm_ray.models.build import build_backbone, final_dim
from hnlm_ray.models.embeddings import initial_rows
from hnlm_ray.models.losses import contrastive, half_squares, mix_scores
from hnlm_ray.models.protocol import Backbone, Draw, Encoding
from hnlm_ray.samplers.build import build_sampler
from hnlm_ray.samplers.protocol import Negatives, Scene, Setting
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.collectives import divided, of_total, rank, replicate, sum_over_workers
from hnlm_ray.training.graph import InteractionGraph
from hnlm_ray.training.objective import BatchNodes, RankingLoss, alignment_and_uniformity, view_contrast
from hnlm_ray.training.shard import Shard

__all__ = ["BatchLoss", "RecommenderModel"]


@dataclass(frozen=True)
class BatchLoss:
    """This worker's part of the loss: sums over its pairs, divided by the size of the global batch.

    Attributes:
        total: what is differentiated.
        ranking: the ranking loss, or alignment and uniformity.
        contrastive: the contrast with semantic vectors and between views, before their weights.
    """

    total: torch.Tensor
    ranking: torch.Tensor
    contrastive: torch.Tensor


@dataclass(frozen=True)
class _Pairs:
    """One batch as tensors."""

    users: torch.Tensor
    items: torch.Tensor
    places: torch.Tensor
    positions: torch.Tensor
    batch: Batch


class RecommenderModel(nn.Module):
    """Embeddings of a worker's users and of all items, and whatever backbone, sampler and alignment learn.

    Attributes:
        users: (U_r, d) parameter, rows of this worker.
        items: (I, d) parameter, equal on all workers.
        graph: of this worker's train interactions.
        backbone: turns them into final vectors.
        sampler: gives negatives.
        ranking_loss: of each pair.
        alignment: of semantic vectors that are not items; None without them. Equal on all workers.
        alpha_logit: of a learned share of the semantic vector; None otherwise. Equal on all workers.
        text_map: (d, D) parameter, from text vectors of items into their embeddings; None without them. Equal on all
            workers.
    """

    def __init__(
        self,
        shard: Shard,
        variant: VariantConfig,
        seed: int,
        vectors: PairVectors | None,
        device: torch.device,
        item_texts: npt.NDArray[np.floating[Any]] | None = None,
    ) -> None:
        super().__init__()
        self._variant = variant
        self._device = device
        self._shard = shard
        train, degrees, dim = shard.train, shard.item_degrees, final_dim(variant.backbone, variant.dim)
        size = variant.dim, variant.init_std
        self.users = nn.Parameter(initial_rows(seed, "users", shard.first_user, shard.last_user, *size).to(device))
        self.items = nn.Parameter(initial_rows(seed, "items", 0, train.n_items, *size).to(device))
        self.text_map: nn.Parameter | None = None
        if item_texts is not None:
            self._texts = torch.from_numpy(item_texts.astype(np.float32)).to(device)
            first = initial_rows(seed, "text_map", 0, variant.dim, item_texts.shape[1], variant.init_std)
            self.text_map = nn.Parameter(first.to(device))
        self.graph = InteractionGraph(train, shard.first_user, degrees, device)
        self.backbone = build_backbone(variant.backbone, self.graph, variant.dim, seed).to(device)
        self.sampler = build_sampler(variant.sampler, Setting(train, degrees, dim, seed, device))
        self.ranking_loss = RankingLoss(variant.loss, train.n_users, device)
        self.alignment: Alignment | None = None
        self.alpha_logit: nn.Parameter | None = None
        self._items_of_vector: torch.Tensor | None = None
        self._vectors: torch.Tensor | None = None
        self._seed = seed
        if vectors is not None and variant.semantic_source in ("text", "tuned"):
            self.alignment = Alignment(vectors.dim, dim, seed).to(device)
            self.alignment.requires_grad_(variant.alignment == "trained")
            self._vectors = torch.from_numpy(vectors.vectors).to(device)
        elif vectors is not None and vectors.items is not None:
            self._items_of_vector = torch.from_numpy(vectors.items.astype(np.int64)).to(device)
        if vectors is not None and variant.alpha_mode == "learned":
            self.alpha_logit = nn.Parameter(
                torch.tensor(math.log(variant.alpha / (1.0 - variant.alpha)), device=device)
            )

    def loss(self, batch: Batch, epoch: int) -> BatchLoss:
        """The objective on one batch.

        Args:
            batch: this worker's pairs.
            epoch: from 1.
        """
        users, items, places = (self._tensor(part) for part in (batch.users, batch.items, batch.places))
        pairs = _Pairs(users, items, places, places - batch.first_place, batch)
        encoding = self._encode(Draw(epoch, batch.step, users))
        nodes = self._nodes(pairs, encoding)
        if isinstance(self._variant.backbone, DirectAUOptions):
            assert nodes is not None
            user, positive = encoding.final[0].index_select(0, users), encoding.final[1].index_select(0, items)
            weight = self._variant.backbone.uniformity_weight
            ranking = alignment_and_uniformity(user, positive, encoding.final[1], nodes, weight)
            return self._add_penalty(pairs, ranking, ranking.new_zeros(()), ranking.new_zeros(()), None)
        scene = self._scene(pairs, encoding, nodes, epoch)
        negatives = self.sampler(scene)
        ranking, semantic = self._rank(scene, negatives, batch)
        views = ranking.new_zeros(())
        if encoding.views is not None:
            assert nodes is not None
            first, second = encoding.views
            options = cast("SGLOptions", self._variant.backbone)
            sides = (first[0], second[0]), (first[1], second[1])
            views = view_contrast(*sides, (users, items), nodes, options.contrast_temperature)
        return self._add_penalty(pairs, ranking, semantic, views, negatives)

    def share_gradients(self) -> None:
        """Sum over the workers the gradients that are partial: those of all but the embeddings."""
        weights = [weight for name, weight in self.named_parameters() if name not in ("users", "items")]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if gradients:
            summed = sum_over_workers(nn.utils.parameters_to_vector(gradients))
            nn.utils.vector_to_parameters(summed, gradients)

    @torch.no_grad()
    def final_vectors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (U_r, d) and (I, d) whose inner products are the scores."""
        users, items = cast("Backbone", self.backbone).encode(self.users, self._first_items()).final
        if self.ranking_loss.is_cosine:
            # The length of a user's vector changes no order, that of an item's would.
            items = functional.normalize(items)
        return users.detach().clone(), items.detach().clone()

    def _encode(self, draw: Draw) -> Encoding:
        """One pass whose item tables gather their gradients from all workers."""
        encoding = cast("Backbone", self.backbone).encode(
            self.users, self._first_items(), draw, layers=self.sampler.needs_layers
        )
        views = encoding.views or ()
        tables = [encoding.final, *encoding.layers, *views]
        shared = replicate(*(items for _, items in tables))
        merged = [(users, items) for (users, _), items in zip(tables, shared, strict=True)]
        final, layers = merged[0], merged[1 : 1 + len(encoding.layers)]
        return Encoding(final, layers, (merged[-2], merged[-1]) if views else None)

    def _first_items(self) -> torch.Tensor:
        """(I, d) first-layer embeddings of the items, with their texts in them."""
        if self.text_map is None:
            return self.items
        # The gradient that comes back here is that of all workers already.
        return torch.addmm(self.items, self._texts, divided(self.text_map).T)

    def _nodes(self, pairs: _Pairs, encoding: Encoding) -> BatchNodes | None:
        is_direct = isinstance(self._variant.backbone, DirectAUOptions)
        if not (is_direct or encoding.views is not None or self.sampler.needs_batch):
            return None
        numbers = pairs.users + self._shard.first_user
        return BatchNodes(numbers, pairs.items, pairs.positions, pairs.batch.global_size)

    def _scene(self, pairs: _Pairs, encoding: Encoding, nodes: BatchNodes | None, epoch: int) -> Scene:
        users, items = encoding.final
        user = rows_of(users, pairs.users)
        if self.ranking_loss.is_cosine:
            user, items = functional.normalize(user), dense_gradient(functional.normalize(items))
        return Scene(
            users=pairs.users,
            items=pairs.items,
            places=pairs.places,
            epoch=epoch,
            step=pairs.batch.step,
            user=user,
            positive=rows_of(items, pairs.items),
            table=items,
            user_layers=[rows_of(layer[0], pairs.users) for layer in encoding.layers],
            positive_layers=[rows_of(layer[1], pairs.items) for layer in encoding.layers],
            table_layers=[layer[1] for layer in encoding.layers],
            batch_items=None if nodes is None else nodes.items,
            positions=pairs.positions,
            extra=self._extra(pairs.batch.hard_rows),
        )

    def _extra(self, hard_rows: npt.NDArray[np.int32]) -> torch.Tensor | None:
        """(B, M) items of the semantic vectors as candidates of the sampler, -1 for a pair without."""
        if self._variant.semantic_use != "candidates" or self._items_of_vector is None:
            return None
        rows = self._tensor(hard_rows.astype(np.int64))
        items = self._items_of_vector.index_select(0, rows.clamp(min=0))
        return torch.where(rows[:, None] >= 0, items, -1)

    def _rank(self, scene: Scene, negatives: Negatives, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The ranking loss, and the contrast with semantic vectors where there are any; sums over the batch size.

        A pair whose vector is missing is left to the sampler.
        """
        vectors = negatives.vectors
        is_shared = vectors.dim() == 2
        scores = scene.user @ vectors.T if is_shared else inner_products(vectors, scene.user)
        log_weights, apart = negatives.log_weights, scores.new_zeros(())
        chosen = np.flatnonzero(batch.hard_rows >= 0)
        if self._is_semantic:
            where = self._tensor(chosen)
            hard = self._hard_vectors(batch.hard_rows[chosen], where, scene)
            user, positive = scene.user.index_select(0, where), scene.positive.index_select(0, where)
            apart = contrastive(user, positive, hard, self._variant.contrastive_temperature).sum()
            alpha = self._alpha(scene.epoch)
            if self._variant.semantic_use == "candidates":
                pass  # the sampler has chosen among them
            elif self.ranking_loss.is_softmax:
                scores, log_weights = self._with_extra(scores, log_weights, where, user, hard, alpha)
            else:
                lengths = vectors.norm(dim=-1).expand(scores.shape).index_select(0, where)
                mixed = mix_scores(scores.index_select(0, where), lengths, user, hard, alpha)
                scores = scores.index_copy(0, where, mixed)
        positive_scores = (scene.user * scene.positive).sum(dim=1)
        ranking = self.ranking_loss(scene.users, positive_scores, scores, log_weights).sum()
        return ranking / batch.global_size, apart / batch.global_size

    @property
    def _is_semantic(self) -> bool:
        return self.alignment is not None or self._items_of_vector is not None

    def _alpha(self, epoch: int) -> float | torch.Tensor:
        """The share of the semantic vector in an epoch, from 1."""
        variant = self._variant
        if self.alpha_logit is not None:
            return torch.sigmoid(self.alpha_logit)
        if variant.alpha_mode == "rising":
            return variant.alpha * min(1.0, epoch / max(1.0, variant.epochs / 2))
        return variant.alpha

    def _hard_vectors(self, rows: npt.NDArray[np.int32], where: torch.Tensor, scene: Scene) -> torch.Tensor:
        """The semantic vectors in the space of the final vectors; of several items, one drawn per pair and epoch.

        Args:
            rows: (H,) of the vectors.
            where: (H,) int64, their pairs in the batch.
            scene: of the batch.
        """
        numbers = self._tensor(rows.astype(np.int64))
        if self._items_of_vector is not None:
            items = self._items_of_vector.index_select(0, numbers)
            key = seeds.derive(self._seed, "semantic", scene.epoch)
            drawn = random_below(key, scene.places.index_select(0, where), (items >= 0).sum(dim=1))
            return scene.table.index_select(0, items.gather(1, drawn[:, None]).squeeze(1))
        assert self.alignment is not None
        assert self._vectors is not None
        aligned: torch.Tensor = self.alignment(self._vectors.index_select(0, numbers).float())
        return functional.normalize(aligned) if self.ranking_loss.is_cosine else aligned

    def _with_extra(
        self,
        scores: torch.Tensor,
        log_weights: torch.Tensor | None,
        where: torch.Tensor,
        user: torch.Tensor,
        hard: torch.Tensor,
        alpha: float | torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One more negative for pairs with a vector, which weighs ``alpha`` times all sampled ones together."""
        weights = torch.zeros_like(scores) if log_weights is None else log_weights
        if not isinstance(alpha, torch.Tensor):
            if alpha == 0.0:
                return scores, weights
            alpha = scores.new_tensor(alpha)
        share = torch.logsumexp(weights.index_select(0, where), dim=1) + torch.log(alpha)
        score = scores.new_zeros(len(scores)).index_copy(0, where, (user * hard).sum(dim=1))
        weight = scores.new_full((len(scores),), -torch.inf).index_copy(0, where, share)
        return torch.cat([scores, score[:, None]], dim=1), torch.cat([weights, weight[:, None]], dim=1)

    def _add_penalty(
        self,
        pairs: _Pairs,
        ranking: torch.Tensor,
        semantic: torch.Tensor,
        views: torch.Tensor,
        negatives: Negatives | None,
    ) -> BatchLoss:
        variant = self._variant
        total = ranking + variant.contrastive_weight * semantic
        if views.requires_grad:
            total = total + cast("SGLOptions", variant.backbone).contrast_weight * views
        if negatives is not None and negatives.penalty is not None:
            total = total + negatives.penalty / pairs.batch.global_size
        if variant.l2 > 0.0:
            total = total + variant.l2 * self._embedding_penalty(pairs, negatives)
        return BatchLoss(total, ranking.detach(), (semantic + views).detach())

    def _embedding_penalty(self, pairs: _Pairs, negatives: Negatives | None) -> torch.Tensor:
        """The term of ``l2``, by the rule that ``l2_on`` names; several negatives of a pair count as one."""
        (first_items,) = replicate(self.items)
        if self._variant.l2_on == "all":
            # All workers hold the items, one of them counts them.
            return half_squares(self.users) + half_squares(first_items if rank() == 0 else first_items[:0])
        groups = [
            (rows_of(self.users, pairs.users), 1.0),
            (rows_of(first_items, pairs.items), 1.0),
        ]
        if negatives is not None and negatives.items is not None:
            rows = rows_of(first_items, negatives.items.reshape(-1))
            groups.append((rows, len(pairs.users) / max(1, len(rows))))
        size = pairs.batch.global_size
        if self._variant.l2_on == "batch":
            return torch.stack([half_squares(rows) * share for rows, share in groups]).sum() / size
        squares = [rows.square().sum() * share for rows, share in groups]
        return (
            torch.stack([of_total(part, lambda total: total.clamp(min=1e-24).sqrt()) for part in squares]).sum() / size
        )

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)
