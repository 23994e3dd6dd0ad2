"""The encoder of hard negatives: a (user, item) pair to a unit vector in the teacher's space (HNLMRec).

::

    [P_u e_u] user text [P_i e_i] item text  ->  body  ->  mean or last token  ->  head  ->  unit length

``e_u`` and ``e_i`` are the teacher's vectors, projected to soft tokens of the body's input space. This is the only
definition: tuning runs it whole in PyTorch, and inference runs :meth:`PairEncoder.embed` and
:meth:`PairEncoder.finish` around a body that vLLM runs and pools.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from hnlm_ray import seeds
from hnlm_ray.config.tuning import LoraOptions, Pooling
from hnlm_ray.config.weights import refuse_pickles
from hnlm_ray.demo import assets
from hnlm_ray.errors import EngineError, StoreError
from hnlm_ray.tuning.tokens import Layout

__all__ = [
    "EncoderSpec",
    "PairEncoder",
    "copy_adapters",
    "load_body",
    "merged_body",
    "root_mean_square",
    "tensors_of",
    "with_adapter",
]

ADAPTER, HEAD, SPEC = "adapter", "encoder.safetensors", "encoder.json"
"""In the folder of a tuned encoder: a PEFT adapter (absent where the body was left as it is), the projections and the
head, and :class:`EncoderSpec`."""


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is made of, as its folder says.

    Attributes:
        model: Hugging Face name or folder of the body, or ``demo``.
        dim: of the teacher's vectors.
        pooling: see :class:`hnlm_ray.config.tuning.TuneConfig`.
        bases: adapters merged into the body before the one beside this file was begun, as folders inside its folder.
    """

    model: str
    dim: int
    pooling: Pooling = "mean"
    bases: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> EncoderSpec:
        """Of a tuned encoder's folder.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        try:
            content = json.loads((folder / SPEC).read_text())
            pooling = content.get("pooling", "mean")  # there was no other when this was not written down
            if pooling not in get_args(Pooling):
                raise ValueError(f"pooling is {pooling!r}")
            return cls(content["model"], content["dim"], pooling, tuple(content["bases"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{folder} holds no tuned encoder ({error})", "give the folder of a stage tune") from error


class PairEncoder(nn.Module):
    """A body with projections in front and a head behind.

    Attributes:
        body: a Hugging Face model without a task head, perhaps with a PEFT adapter in it.
        user_projection: from the teacher's user vectors to the body's input space.
        item_projection: the same for items.
        head: from the body's output to the teacher's space.
        pooling: see :class:`hnlm_ray.config.tuning.TuneConfig`.
        scales: (2,) the root mean square of the teacher's user and item coordinates, by which they are divided.
    """

    scales: torch.Tensor

    def __init__(
        self,
        body: nn.Module,
        dim: int,
        seed: int,
        scales: tuple[float, float] = (1.0, 1.0),
        pooling: Pooling = "mean",
    ) -> None:
        """Projections and head start from values derived from ``seed``, soft tokens about as long as the words'.

        Args:
            body: with ``get_input_embeddings`` and a ``config`` that has ``hidden_size``.
            dim: of the teacher's vectors.
            seed: of the run.
            scales: see the attribute.
            pooling: see the attribute.
        """
        super().__init__()
        self.body = body
        self.pooling = pooling
        words: torch.Tensor = body.get_input_embeddings().weight  # type: ignore[operator]
        hidden = words.shape[1]
        self.user_projection, self.item_projection = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.head = nn.Linear(hidden, dim)
        self.register_buffer("scales", torch.tensor(scales, dtype=torch.float32))
        generator = torch.Generator().manual_seed(seeds.derive(seed, "init", "encoder"))
        spread = float(words.detach().float().std()) / math.sqrt(dim)
        with torch.no_grad():
            for layer, std in (
                (self.user_projection, spread),
                (self.item_projection, spread),
                (self.head, hidden**-0.5),
            ):
                layer.weight.normal_(std=std, generator=generator)
                layer.bias.zero_()

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
        embedded = self.embed(ids, item_places, users, items)
        hidden = self.body(inputs_embeds=embedded, attention_mask=mask.to(torch.int64)).last_hidden_state
        return self.finish(self._pooled(hidden.float(), mask))

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, hidden): what vLLM's pooling of the same name gives."""
        if self.pooling == "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
        weights = mask.to(torch.float32)[:, :, None]
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)

    def embed(
        self, ids: torch.Tensor, item_places: torch.Tensor, users: torch.Tensor, items: torch.Tensor
    ) -> torch.Tensor:
        """The body's input (B, L, hidden): words, and the projected vectors in their places."""
        words: torch.Tensor = self.body.get_input_embeddings()(ids)  # type: ignore[operator]
        kind, rows = self.user_projection.weight.dtype, torch.arange(len(ids), device=ids.device)
        user = self.user_projection((users / self.scales[0]).to(kind)).to(words.dtype)
        item = self.item_projection((items / self.scales[1]).to(kind)).to(words.dtype)
        places = torch.stack([torch.zeros_like(item_places), item_places], dim=1)
        return words.index_put((rows[:, None], places), torch.stack([user, item], dim=1))

    def finish(self, pooled: torch.Tensor) -> torch.Tensor:
        """The pooled output of the body (B, hidden) to unit vectors (B, dim) float32."""
        return functional.normalize(self.head(pooled.to(self.head.weight.dtype)).float(), dim=-1)

    def own_tensors(self) -> dict[str, torch.Tensor]:
        """Projections, head and scales, without the body, on the CPU."""
        return {
            name: tensor.detach().float().cpu().contiguous()
            for name, tensor in self.state_dict().items()
            if not name.startswith("body.")
        }

    def save(self, folder: Path, spec: EncoderSpec) -> None:
        """Write the encoder, without the body's own weights, into an existing folder."""
        from peft import PeftModel
        from safetensors.torch import save_file

        save_file(self.own_tensors(), folder / HEAD)
        if isinstance(self.body, PeftModel):
            self.body.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)
            (folder / ADAPTER / "README.md").unlink(missing_ok=True)  # a template of PEFT's without content
        (folder / SPEC).write_text(json.dumps(asdict(spec), indent=2))

    def save_body(self, folder: Path) -> None:
        """Write the body as a Hugging Face folder, and keep of it here only what :meth:`embed` reads."""
        self.body.save_pretrained(folder)  # type: ignore[operator]
        self.body = _Words(self.body.get_input_embeddings())  # type: ignore[operator]

    @classmethod
    def load(cls, folder: Path) -> tuple[PairEncoder, EncoderSpec]:
        """An encoder from its folder, every adapter merged into the body: what inference runs.

        Raises:
            StoreError: a file is missing or damaged.
            EngineError: the body cannot be loaded.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        spec = EncoderSpec.read(folder)
        try:
            tensors = load_file(folder / HEAD)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{folder} holds no tuned encoder ({error})", "give the folder of a stage tune") from error
        encoder = cls(merged_body(folder, spec), spec.dim, 0, pooling=spec.pooling)
        encoder.load_state_dict(tensors, strict=False)
        return encoder.eval(), spec


class _Words(nn.Module):
    """What is left of a body that runs elsewhere."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        self.words = words

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of token ids."""
        return self.words


def load_body(model: str) -> nn.Module:
    """The body of a Hugging Face name or folder, without its task head, float32, with fixed weights.

    Raises:
        EngineError: it cannot be loaded, or has no safetensors.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = assets.resolve(model)
    refuse_pickles(folder)
    try:
        body: nn.Module = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        what = str(error).strip().splitlines()[0]
        raise EngineError(f"the model {folder} cannot be loaded ({what})", "give a complete model folder") from error
    return body.requires_grad_(False)


def merged_body(folder: Path, spec: EncoderSpec) -> nn.Module:
    """The body with the adapters of an encoder's folder merged into its weights.

    Raises:
        EngineError: the body cannot be loaded, or an adapter is a pickle.
    """
    from peft import PeftModel

    body = load_body(spec.model)
    for adapter in (*(folder / base for base in spec.bases), folder / ADAPTER):
        if adapter.is_dir():
            refuse_pickles(adapter)  # PEFT itself falls back to adapter_model.bin
            body = PeftModel.from_pretrained(body, str(adapter)).merge_and_unload()
    return body.requires_grad_(False)


def copy_adapters(source: Path, target: Path) -> tuple[str, ...]:
    """Copy the adapters of one encoder's folder into another's, as the bases of a new one; their names there."""
    kept = [source / base for base in EncoderSpec.read(source).bases]
    kept += [source / ADAPTER] if (source / ADAPTER).is_dir() else []
    names = tuple(f"base-{number}" for number in range(len(kept)))
    for name, adapter in zip(names, kept, strict=True):
        shutil.copytree(adapter, target / name)
    return names


def with_adapter(body: nn.Module, options: LoraOptions, seed: int) -> nn.Module:
    """The body with a new adapter, whose first values derive from ``seed``; the body itself at rank 0.

    Raises:
        EngineError: no layer of the body is among ``options.targets``.
    """
    from peft import LoraConfig, get_peft_model

    if options.rank == 0:
        return body
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear" if options.targets is None else list(options.targets),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seeds.derive(seed, "init", "lora") % 2**31)
        try:
            adapted: nn.Module = get_peft_model(body, config)
        except ValueError as error:
            raise EngineError(f"tune.lora.targets: {error}", "name layers of the body, or none") from error
    return adapted


def tensors_of(layout: Layout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``ids``, ``mask`` and ``item_places`` of a layout."""
    return torch.from_numpy(layout.ids), torch.from_numpy(layout.mask), torch.from_numpy(layout.item_places)


def root_mean_square(vectors: npt.NDArray[np.floating[Any]]) -> float:
    """Of all coordinates; 1 where all are 0."""
    return float(np.sqrt(np.square(vectors, dtype=np.float64).mean())) or 1.0
