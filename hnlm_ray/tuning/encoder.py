"""What every form of the encoder of hard negatives has, and the folder of a tuned one.

An encoder turns a (user, item) pair into a unit vector in the teacher's space (HNLMRec). Its input are texts, and the
teacher's vectors of user and item as soft tokens of a language model, the body. The forms differ in what one sequence
of the body holds: :mod:`hnlm_ray.tuning.pair_encoder` and :mod:`hnlm_ray.tuning.factorised`.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hnlm_ray import seeds
from hnlm_ray.config.tuning import Form, Pooling
from hnlm_ray.config.weights import refuse_pickles
from hnlm_ray.errors import StoreError
from hnlm_ray.run.store import Artifact
from hnlm_ray.tuning.body import Words, load_body, pooled
from hnlm_ray.tuning.tokens import TokenRows

__all__ = ["ENCODER", "HEAD", "Encoder", "EncoderSpec", "Inputs", "copy_adapters", "fetch_encoder", "merged_body"]

ENCODER = "encoder"
"""The folder of a tuned encoder in the artifact of the stage ``tune``."""

ADAPTER, HEAD, SPEC = "adapter", "encoder.safetensors", "encoder.json"
"""In that folder: a PEFT adapter, unless the body was not tuned; projections and head; and :class:`EncoderSpec`."""

Numbers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is made of, as its folder records it.

    Attributes:
        model: Hugging Face name or folder of the body, or ``demo``.
        dim: of the teacher's vectors.
        pooling: see :class:`hnlm_ray.config.tuning.TuneConfig`.
        bases: folders, inside the encoder's, of adapters that are merged into the body before its own.
        form: see :class:`hnlm_ray.config.tuning.TuneConfig`.
    """

    model: str
    dim: int
    pooling: Pooling = "mean"
    bases: tuple[str, ...] = ()
    form: Form = "pair"

    @classmethod
    def read(cls, folder: Path) -> EncoderSpec:
        """The spec in the folder of a tuned encoder.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        try:
            content = json.loads((folder / SPEC).read_text())
            # Encoders without these entries pool by the mean and read pairs.
            pooling, form = content.get("pooling", "mean"), content.get("form", "pair")
            if pooling not in get_args(Pooling):
                raise ValueError(f"pooling is {pooling!r}")
            if form not in get_args(Form):
                raise ValueError(f"form is {form!r}")
            return cls(content["model"], content["dim"], pooling, tuple(content["bases"]), form)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{folder} holds no tuned encoder ({error})", "give the folder of a stage tune") from error


@dataclass(frozen=True)
class Inputs:
    """What an encoder takes for some pairs, besides the teacher's vectors.

    Attributes:
        tensors: the first arguments of its ``forward``.
        users: users whose teacher vectors are the next argument.
        items: items whose teacher vectors are the last.
    """

    tensors: tuple[torch.Tensor, ...]
    users: Numbers
    items: Numbers


class Encoder(nn.Module):
    """The parts that every form has: a body and the projections before it.

    Attributes:
        body: a Hugging Face model without a task head, with or without a PEFT adapter.
        user_projection: from the teacher's user vectors to the body's input space.
        item_projection: the same for items.
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
        """Make projections and heads, and draw their first weights from ``seed``.

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
        self.hidden: int = body.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
        self.user_projection, self.item_projection = nn.Linear(dim, self.hidden), nn.Linear(dim, self.hidden)
        self.register_buffer("scales", torch.tensor(scales, dtype=torch.float32))
        self._initialise(seed, self._make_heads(dim))

    def _make_heads(self, dim: int) -> Iterable[nn.Linear]:
        """Make what a form has after the body; its layers, in the order in which their weights are drawn."""
        raise NotImplementedError

    @classmethod
    def inputs(cls, user_tokens: TokenRows, item_tokens: TokenRows, users: Numbers, items: Numbers) -> Inputs:
        """What ``forward`` takes for the pairs ``users`` (B,) and ``items`` (B,)."""
        raise NotImplementedError

    def _initialise(self, seed: int, heads: Iterable[nn.Linear]) -> None:
        """Draw first weights from ``seed``: soft tokens are about as long as embedded words, heads keep lengths."""
        generator = torch.Generator().manual_seed(seeds.derive(seed, "init", "encoder"))
        words: torch.Tensor = self.body.get_input_embeddings().weight  # type: ignore[operator]
        spread = float(words.detach().float().std()) / math.sqrt(self.user_projection.in_features)
        layers = [(self.user_projection, spread), (self.item_projection, spread)]
        layers += [(head, head.in_features**-0.5) for head in heads]
        with torch.no_grad():
            for layer, std in layers:
                layer.weight.normal_(std=std, generator=generator)
                layer.bias.zero_()

    def _words(self, ids: torch.Tensor) -> torch.Tensor:
        """The embedded words (B, L, hidden) of token ids (B, L)."""
        words: torch.Tensor = self.body.get_input_embeddings()(ids)  # type: ignore[operator]
        return words

    def _soft_users(self, users: torch.Tensor) -> torch.Tensor:
        """The soft tokens (B, hidden) of the teacher's user vectors (B, dim)."""
        found: torch.Tensor = self.user_projection((users / self.scales[0]).to(self.user_projection.weight.dtype))
        return found

    def _soft_items(self, items: torch.Tensor) -> torch.Tensor:
        """The same for items."""
        found: torch.Tensor = self.item_projection((items / self.scales[1]).to(self.item_projection.weight.dtype))
        return found

    def _through_body(self, embedded: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The pooled output (B, hidden) of embedded sequences (B, L, hidden)."""
        hidden = self.body(inputs_embeds=embedded, attention_mask=mask.to(torch.int64)).last_hidden_state
        return pooled(hidden, mask, self.pooling)

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
        """Write the body as a Hugging Face folder, and keep only its word embeddings, which sequences begin with."""
        self.body.save_pretrained(folder)  # type: ignore[operator]
        self.body = Words(self.body.get_input_embeddings())  # type: ignore[operator]


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


def fetch_encoder(tuned: Artifact, place: Path) -> Path:
    """Copy the encoder of a stage ``tune`` into the local folder ``place``, which is returned.

    Raises:
        StoreError: there is none, or a file of it is damaged.
    """
    tuned.verify(ENCODER)
    place.mkdir(parents=True, exist_ok=True)
    tuned.folder(ENCODER).fetch(place)
    return place
