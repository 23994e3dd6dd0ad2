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
from hnlm_ray.config.tuning import LoraOptions, Pooling, TuneConfig
from hnlm_ray.config.weights import refuse_pickles
from hnlm_ray.demo import assets
from hnlm_ray.errors import EngineError, StoreError
from hnlm_ray.run.store import Artifact
from hnlm_ray.tuning.inputs import Teacher
from hnlm_ray.tuning.tokens import Layout

__all__ = [
    "ENCODER",
    "EncoderSpec",
    "PairEncoder",
    "copy_adapters",
    "fetch_encoder",
    "load_body",
    "merged_body",
    "new_encoder",
    "tensors_of",
    "with_adapter",
]

ENCODER = "encoder"
"""The folder of a tuned encoder in the artifact of the stage ``tune``."""

ADAPTER, HEAD, SPEC = "adapter", "encoder.safetensors", "encoder.json"
"""In that folder: a PEFT adapter, unless the body was not tuned; projections and head; and :class:`EncoderSpec`."""


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is made of, as its folder records it.

    Attributes:
        model: Hugging Face name or folder of the body, or ``demo``.
        dim: of the teacher's vectors.
        pooling: see :class:`hnlm_ray.config.tuning.TuneConfig`.
        bases: folders, inside the encoder's, of adapters that are merged into the body before its own.
    """

    model: str
    dim: int
    pooling: Pooling = "mean"
    bases: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> EncoderSpec:
        """The spec in the folder of a tuned encoder.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        try:
            content = json.loads((folder / SPEC).read_text())
            pooling = content.get("pooling", "mean")  # encoders without this entry pool by the mean
            if pooling not in get_args(Pooling):
                raise ValueError(f"pooling is {pooling!r}")
            return cls(content["model"], content["dim"], pooling, tuple(content["bases"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{folder} holds no tuned encoder ({error})", "give the folder of a stage tune") from error


class PairEncoder(nn.Module):
    """The encoder: a body with projections before it and a head after it.

    Attributes:
        body: a Hugging Face model without a task head, with or without a PEFT adapter.
        user_projection: from the teacher's user vectors to the body's input space.
        item_projection: the same for items.
        head: from the body's output to the teacher's space.
        pooling: see :class:`hnlm_ray.config.tuning.TuneConfig`.
        scales: (2,) root mean squares of the teacher's user and item coordinates, by which vectors are divided.
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
        """Initialise projections and head from ``seed``, so that soft tokens are about as long as embedded words.

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
        """The body's output (B, L, hidden) pooled to (B, hidden), as vLLM's pooling of the same name does."""
        if self.pooling == "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
        weights = mask.to(torch.float32)[:, :, None]
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)

    def embed(
        self, ids: torch.Tensor, item_places: torch.Tensor, users: torch.Tensor, items: torch.Tensor
    ) -> torch.Tensor:
        """The input of the body (B, L, hidden): embedded words, and the projected vectors in their places.

        Arguments as in :meth:`forward`.
        """
        words: torch.Tensor = self.body.get_input_embeddings()(ids)  # type: ignore[operator]
        kind, rows = self.user_projection.weight.dtype, torch.arange(len(ids), device=ids.device)
        user = self.user_projection((users / self.scales[0]).to(kind)).to(words.dtype)
        item = self.item_projection((items / self.scales[1]).to(kind)).to(words.dtype)
        places = torch.stack([torch.zeros_like(item_places), item_places], dim=1)
        return words.index_put((rows[:, None], places), torch.stack([user, item], dim=1))

    def finish(self, pooled: torch.Tensor) -> torch.Tensor:
        """Unit vectors (B, dim) float32 from the pooled output of the body (B, hidden)."""
        return functional.normalize(self.head(pooled.to(self.head.weight.dtype)).float(), dim=-1)

    def save(self, folder: Path, spec: EncoderSpec) -> None:
        """Write the encoder into an existing folder, without the weights of the body that were not tuned."""
        from peft import PeftModel
        from safetensors.torch import save_file

        own = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("body.")}
        save_file({name: tensor.float().cpu().contiguous() for name, tensor in own.items()}, folder / HEAD)
        if isinstance(self.body, PeftModel):
            self.body.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)
            (folder / ADAPTER / "README.md").unlink(missing_ok=True)  # an empty template
        (folder / SPEC).write_text(json.dumps(asdict(spec), indent=2))

    def save_body(self, folder: Path) -> None:
        """Write the body as a Hugging Face folder, and keep only its word embeddings, which :meth:`embed` needs."""
        self.body.save_pretrained(folder)  # type: ignore[operator]
        self.body = _Words(self.body.get_input_embeddings())  # type: ignore[operator]

    @classmethod
    def load(cls, folder: Path) -> tuple[PairEncoder, EncoderSpec]:
        """An encoder from its folder for inference, with every adapter merged into the body.

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
    """The word embeddings of a body that runs in another process."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        self.words = words

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of token ids."""
        return self.words


def load_body(model: str) -> nn.Module:
    """The body from a Hugging Face name or folder, without its task head, float32, with frozen weights.

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
    """The frozen body with the adapters in an encoder's folder merged into its weights.

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
    """Copy the adapters in one encoder's folder into another's, as :attr:`EncoderSpec.bases` of a new encoder.

    Returns:
        their names in ``target``.
    """
    kept = [source / base for base in EncoderSpec.read(source).bases]
    kept += [source / ADAPTER] if (source / ADAPTER).is_dir() else []
    names = tuple(f"base-{number}" for number in range(len(kept)))
    for name, adapter in zip(names, kept, strict=True):
        shutil.copytree(adapter, target / name)
    return names


def with_adapter(body: nn.Module, options: LoraOptions, seed: int) -> nn.Module:
    """The body with a new LoRA adapter initialised from ``seed``; at rank 0, the body itself.

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
    """``ids``, ``mask`` and ``item_places`` of a layout, as :meth:`PairEncoder.forward` takes them."""
    return torch.from_numpy(layout.ids), torch.from_numpy(layout.mask), torch.from_numpy(layout.item_places)


def _root_mean_square(vectors: npt.NDArray[np.floating[Any]]) -> float:
    """Root mean square of all coordinates; 1 where all are 0."""
    return float(np.sqrt(np.square(vectors, dtype=np.float64).mean())) or 1.0


def new_encoder(teacher: Teacher, options: TuneConfig, seed: int) -> PairEncoder:
    """The encoder to tune, with a new adapter, on the CPU.

    Raises:
        EngineError: the body cannot be loaded.
        StoreError: ``options.start`` holds no encoder.
    """
    if options.start is None:
        body = load_body(options.model)
    else:
        start = Path(options.start).expanduser()
        body = merged_body(start, EncoderSpec.read(start))
    scales = _root_mean_square(teacher.users), _root_mean_square(teacher.items)
    adapted, dim = with_adapter(body, options.lora, seed), teacher.users.shape[1]
    return PairEncoder(adapted, dim, seed, scales, options.pooling)


def fetch_encoder(tuned: Artifact, place: Path) -> Path:
    """Copy the encoder of a stage ``tune`` into the local folder ``place``, which is returned.

    Raises:
        StoreError: there is none, or a file of it is damaged.
    """
    tuned.verify(ENCODER)
    place.mkdir(parents=True, exist_ok=True)
    tuned.folder(ENCODER).fetch(place)
    return place
