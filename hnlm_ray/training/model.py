"""The parameters of one worker and the loss of one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.kernels.rows import dense_gradient, inner_products, on_device, rows_of, widened
from hnlm_ray.models.alignment import Alignment
from hnlm_ray.models.build import build_backbone
from hnlm_ray.models.embeddings import initial_rows
from hnlm_ray.models.features import FeatureMap
from hnlm_ray.models.item_graph import ItemGraph
from hnlm_ray.models.protocol import Draw, Encoding, ReadsHistories
from hnlm_ray.samplers.build import build_sampler
from hnlm_ray.samplers.guard import GuardLookup
from hnlm_ray.samplers.protocol import Negatives, Scene, Setting, trust_in
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.collectives import divided, replicate, sum_over_workers
from hnlm_ray.training.graph import InteractionGraph
from hnlm_ray.training.objective import BatchNodes, RankingLoss, alignment_and_uniformity, item_contrast, view_contrast
from hnlm_ray.training.penalty import embedding_penalty
from hnlm_ray.training.semantic import SemanticNegatives
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation

__all__ = ["BatchLoss", "RecommenderModel"]


@dataclass(frozen=True)
class BatchLoss:
    """This worker's part of the loss: sums over its pairs, divided by the size of the global batch.

    Attributes:
        total: what is differentiated.
        ranking: the ranking loss, or alignment and uniformity.
        contrastive: the contrasts with semantic vectors, with texts and between views, before their weights.
    """

    total: torch.Tensor
    ranking: torch.Tensor
    contrastive: torch.Tensor


_Terms = list[tuple[float, torch.Tensor]]
"""Weights and scalars that are added to the ranking loss."""


@dataclass(frozen=True)
class _Pairs:
    """One batch as tensors."""

    users: torch.Tensor
    items: torch.Tensor
    places: torch.Tensor
    positions: torch.Tensor
    batch: Batch


class RecommenderModel(nn.Module):
    """Embeddings of a worker's users and of all items, and whatever backbone, sampler and semantic negatives learn.

    Attributes:
        users: (U_r, d) parameter, rows of this worker; (U_r, 0) and not trained with a backbone that knows users by
            their histories.
        items: (I, d) parameter, equal on all workers.
        graph: of this worker's train interactions.
        backbone: turns embeddings into final vectors.
        sampler: gives negatives.
        ranking_loss: of each pair.
        semantic: the language model's hard negatives; None without them.
        text_map: (d, D) parameter, from text vectors of items into their embeddings; None without them. Equal on all
            workers.
        item_features: adds the features of items to their embeddings; None without them. Equal on all workers.
        user_features: the same of this worker's users, with weights that are equal on all workers.
        text_layers: from text vectors of items into the space of their final vectors; None without a contrast of both.
            Equal on all workers.
        item_graph: smooths tables of items; None without one.
    """

    def __init__(
        self,
        shard: Shard,
        variant: VariantConfig,
        seed: int,
        side: SideInformation,
        device: torch.device,
    ) -> None:
        """Start from values derived from ``seed``.

        Args:
            shard: the worker's users.
            variant: what to train.
            seed: of the fit.
            side: what the variant reads besides interactions, of the worker's users.
            device: where the parameters are.
        """
        super().__init__()
        self._variant, self._device, self._shard = variant, device, shard
        train, degrees, dim = shard.train, shard.item_degrees, variant.backbone.final_dim(variant.dim)
        size = variant.dim, variant.init_std
        self._seen = side.seen_histories
        is_sequential = variant.backbone.is_sequential
        rows = initial_rows(seed, "users", shard.first_user, shard.last_user, 0 if is_sequential else size[0], size[1])
        self.users = nn.Parameter(rows, requires_grad=not is_sequential)
        self.items = nn.Parameter(initial_rows(seed, "items", 0, train.n_items, *size))
        self.text_map: nn.Parameter | None = None
        self.text_layers: Alignment | None = None
        if (texts := side.item_texts) is not None:
            self._texts = torch.from_numpy(texts.astype(np.float32)).to(device)
            if variant.item_text:
                first = initial_rows(seed, "text_map", 0, variant.dim, texts.shape[1], variant.init_std)
                self.text_map = nn.Parameter(first)
            if variant.text_contrast is not None:
                self.text_layers = Alignment(texts.shape[1], dim, seed)
        self.item_features, self.user_features = (
            None if rows is None else FeatureMap(rows, variant.dim, device)
            for rows in (side.item_features, side.user_features)
        )
        self.item_graph: ItemGraph | None = None
        if variant.item_graph is not None and side.item_graph is not None:
            self.item_graph = ItemGraph(side.item_graph, variant.item_graph, device)
        self._guard = None if side.guard is None else GuardLookup(side.guard, device)
        self.graph = InteractionGraph(train, shard.first_user, degrees, device, side.histories)
        self.backbone = build_backbone(variant.backbone, self.graph, variant.dim, seed)
        self.sampler = build_sampler(variant.sampler, Setting(train, degrees, dim, seed, device))
        self.ranking_loss = RankingLoss(variant.loss, train.n_users, train.n_items, device)
        self.semantic: SemanticNegatives | None = None
        if variant.semantic is not None and side.vectors is not None:
            self.semantic = SemanticNegatives(
                variant.semantic, variant.loss, side.vectors, dim, seed, variant.epochs, device
            )
        self.to(device)

    def loss(self, batch: Batch, epoch: int) -> BatchLoss:
        """The objective on one batch.

        Args:
            batch: this worker's pairs.
            epoch: from 1.
        """
        users, items, places = on_device(np.stack([batch.users, batch.items, batch.places]), self._device)
        pairs = _Pairs(users, items, places, places - batch.first_place, batch)
        encoding = self._encode(Draw(epoch, batch.step, users, batch.targets))
        nodes = self._nodes(pairs, encoding)
        negatives: Negatives | None = None
        contrasts: _Terms = []
        if self._variant.backbone.uniformity is None:
            scene = self._scene(pairs, encoding, nodes, epoch)
            negatives = self.sampler(scene)
            ranking, contrasts = self._rank(scene, negatives, batch)
        else:
            ranking = self._align(pairs, encoding, nodes, self._variant.backbone.uniformity)
        contrasts += self._contrast_views(pairs, encoding, nodes) + self._contrast_texts(pairs, encoding, nodes)
        total = ranking
        for weight, value in contrasts:
            total = total + weight * value
        if negatives is not None and negatives.penalty is not None:
            total = total + negatives.penalty / batch.global_size
        if self._variant.l2 > 0.0:
            drawn = None if negatives is None else negatives.items
            tables = self.users, self.items
            penalty = embedding_penalty(self._variant.l2_on, tables, (users, items), drawn, batch.global_size)
            total = total + self._variant.l2 * penalty
        contrastive = sum((value.detach() for _, value in contrasts), ranking.new_zeros(()))
        return BatchLoss(total, ranking.detach(), contrastive)

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
        users, items = self._placed(self.backbone.encode(self._first_users(), self._first_items())).final
        if self.ranking_loss.is_cosine:
            # The length of a user's vector changes no order, that of an item's would.
            items = functional.normalize(items)
        return users.detach().clone(), items.detach().clone()

    @torch.no_grad()
    def seen_users(self) -> torch.Tensor | None:
        """Vectors (U_r, d) of users who are known by train and valid; None where the backbone reads no histories."""
        if self._seen is None:
            return None
        assert isinstance(self.backbone, ReadsHistories)
        return self.backbone.latest(self._seen, self._first_items())

    def _encode(self, draw: Draw) -> Encoding:
        """One pass whose item tables gather their gradients from all workers."""
        found = self.backbone.encode(self._first_users(), self._first_items(), draw, layers=self.sampler.needs_layers)
        encoding = self._placed(found)
        views = encoding.views or ()
        tables = [encoding.final, *encoding.layers, *views]
        shared = replicate(*(items for _, items in tables))
        merged = [(users, items) for (users, _), items in zip(tables, shared, strict=True)]
        final, layers = merged[0], merged[1 : 1 + len(encoding.layers)]
        return Encoding(final, layers, (merged[-2], merged[-1]) if views else None, encoding.of_pairs)

    def _first_users(self) -> torch.Tensor:
        """(U_r, d) first-layer embeddings of the worker's users, with their features in them."""
        if self.user_features is None:
            return self.users
        features: torch.Tensor = self.user_features(self.user_features.weight)
        return self.users + features

    def _first_items(self) -> torch.Tensor:
        """(I, d) first-layer embeddings of the items, with their texts, features and neighbours in them."""
        items: torch.Tensor = self.items
        if self.text_map is not None:
            # The gradient that comes back here is summed over the workers already.
            if torch.is_autocast_enabled(self._device.type):  # addmm would round the embeddings, too
                items = items + self._texts @ divided(self.text_map).T
            else:
                items = torch.addmm(items, self._texts, divided(self.text_map).T)
        if self.item_features is not None:
            items = items + self.item_features(divided(self.item_features.weight))
        if self.item_graph is not None and self.item_graph.place == "before":
            items = self.item_graph.smooth(items)
        return items

    def _placed(self, encoding: Encoding) -> Encoding:
        """The encoding with the graph of items beside or after the backbone, where it is placed there."""
        graph = self.item_graph
        if graph is None or graph.place == "before":
            return encoding
        users, items = encoding.final
        placed = graph.smooth(items) if graph.place == "after" else items + graph.smooth(self._first_items())
        return replace(encoding, final=(users, placed))

    def _nodes(self, pairs: _Pairs, encoding: Encoding) -> BatchNodes | None:
        """The nodes of the whole batch, where anything looks across it."""
        look_across = self._variant.backbone.uniformity, encoding.views, self.text_layers
        if not (self.sampler.needs_batch or any(part is not None for part in look_across)):
            return None
        numbers = pairs.users + self._shard.first_user
        return BatchNodes(numbers, pairs.items, pairs.positions, pairs.batch.global_size)

    def _scene(self, pairs: _Pairs, encoding: Encoding, nodes: BatchNodes | None, epoch: int) -> Scene:
        users, items = encoding.final
        user = rows_of(users, pairs.users) if encoding.of_pairs is None else encoding.of_pairs
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
            extra=None if self.semantic is None else self.semantic.candidates(pairs.batch.hard_rows),
            guard=self._guard,
        )

    def _rank(self, scene: Scene, negatives: Negatives, batch: Batch) -> tuple[torch.Tensor, _Terms]:
        """The ranking loss, and the contrast with semantic vectors where there are any."""
        trust = trust_in(scene, negatives)
        if trust is not None and self.ranking_loss.is_softmax:
            log_trust = trust.log()
            weights = log_trust if negatives.log_weights is None else negatives.log_weights + log_trust
            negatives, trust = replace(negatives, log_weights=weights), None
        vectors, log_weights = negatives.vectors, negatives.log_weights
        is_shared = vectors.dim() == 2
        scores = widened(scene.user @ vectors.T) if is_shared else inner_products(vectors, scene.user)
        contrasts: _Terms = []
        if self.semantic is not None:
            scores, log_weights, contrast = self.semantic(scene, batch.hard_rows, negatives, scores)
            contrasts = [(self.semantic.contrast_weight, contrast / batch.global_size)]
        positive = (scene.user * scene.positive).sum(dim=1)
        ranking = self.ranking_loss(scene.users, positive, scores, log_weights, trust).sum()
        return ranking / batch.global_size, contrasts

    def _align(self, pairs: _Pairs, encoding: Encoding, nodes: BatchNodes | None, uniformity: float) -> torch.Tensor:
        """Alignment and uniformity, in place of a ranking loss."""
        assert nodes is not None
        users, items = encoding.final
        user, positive = users.index_select(0, pairs.users), items.index_select(0, pairs.items)
        return alignment_and_uniformity(user, positive, items, nodes, uniformity)

    def _contrast_views(self, pairs: _Pairs, encoding: Encoding, nodes: BatchNodes | None) -> _Terms:
        options = self._variant.backbone.contrast
        if encoding.views is None or options is None:
            return []
        assert nodes is not None
        first, second = encoding.views
        sides = (first[0], second[0]), (first[1], second[1])
        return [(options.weight, view_contrast(*sides, (pairs.users, pairs.items), nodes, options.temperature))]

    def _contrast_texts(self, pairs: _Pairs, encoding: Encoding, nodes: BatchNodes | None) -> _Terms:
        options = self._variant.text_contrast
        if self.text_layers is None or options is None:
            return []
        assert nodes is not None
        mapped = self.text_layers(self._texts.index_select(0, nodes.items))
        rows = encoding.final[1].index_select(0, pairs.items)
        return [(options.weight, item_contrast(rows, mapped, nodes, options.temperature))]
