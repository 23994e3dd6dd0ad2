"""How a language model is tuned to emit hard negatives, and how the tuned encoder is run on the pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hnlm_ray.config.resources import EngineOptions, WorkerOptions
from hnlm_ray.config.section import Fraction, ModelName, Positive, Section

__all__ = ["EncodeConfig", "Form", "LoraOptions", "Pooling", "SupervisionConfig", "TuneConfig"]

Form = Literal["pair", "factorised"]
Pooling = Literal["mean", "last"]


class SupervisionConfig(Section):
    """Which hard negative the language model is tuned to emit for a pair."""

    strategy: Literal["window", "answer", "refined", "denoised", "history"] = "refined"
    """``window``: drawn from a window of the teacher's ranks. ``answer``: the item that the model's own text was
    matched to. ``refined``: of the window, by text. ``denoised``: the weighted mean of the window. ``history``: no
    negative at all, but another item of the user, for an encoder whose item vectors are read, see ``item_graph``."""
    first: Positive = 1
    """First rank of the window, among items that the user has not seen."""
    last: Positive = 50
    """Last rank of the window."""
    near_item: float = Field(default=0.5, ge=0.0)
    """Weight of similarity to the text of the pair's item, for ``refined``."""
    far_from_user: float = Field(default=2.0, ge=0.0)
    """Weight of distance from the mean text of the user's history, where false negatives lie, for ``refined``."""
    temperature: float = Field(default=1.0, gt=0.0)
    """Of the softmax of ``denoised``, over the teacher's scores."""
    guard: Fraction | None = 0.5
    """Candidates are removed whose score and text similarity both reach this quantile of those of the user's own items;
    null: none are."""

    @model_validator(mode="after")
    def _window_has_ranks(self) -> SupervisionConfig:
        if self.last < self.first:
            raise ValueError(f"the window ends at rank {self.last}, before its first rank {self.first}")
        return self


class LoraOptions(Section):
    """The low-rank adapter of the language model (Hu et al., ICLR 2022)."""

    rank: int = Field(default=8, ge=0)
    """0: the body stays as it is, and only the projections around it are fitted."""
    alpha: Positive = 16
    """The output of the adapter is scaled by ``alpha / rank``."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Above 0, what is dropped depends on the number of workers."""
    targets: tuple[str, ...] | None = None
    """Names of the layers with an adapter, for example ``[q_proj, v_proj]``; null: every linear layer."""


class TuneConfig(WorkerOptions):
    """How the language model is tuned to emit the vector of a hard negative."""

    workers: Positive = 1
    """Workers of Ray Train that one fit is divided over."""

    teacher: str | None = None
    """The variant whose vectors supervise; null: the first that is trained without the language model."""
    supervision: SupervisionConfig = SupervisionConfig()
    model: ModelName = ""
    """Hugging Face name or folder of the body, a causal language model or a text encoder. Empty: none; on the demo's
    data ``demo``, which comes with the package."""
    start: str | None = None
    """Folder of an encoder that was tuned before, here or on other data; its adapter is merged into the body."""
    keep: str | None = None
    """Run folder whose teacher and tuned encoder are used as they are: new users and items are folded in, and only
    pairs that it has not encoded are encoded."""
    form: Form = "factorised"
    """``factorised``: the body reads each user once and each item once, and a small head makes a pair's vector of the
    two; items get vectors of their own. ``pair``: it reads user and item together, once per pair, as in the
    publication."""
    pooling: Pooling = "mean"
    """What of the body's output goes into the head. ``mean``: the mean over the sequence, as in the publication.
    ``last``: the last token, which in a causal language model attends to all others; vLLM then computes what the pairs
    of a user share once."""
    texts: Literal["profiles", "catalogue"] = "profiles"
    """``profiles``: the profiles that the language model wrote, with texts from the catalogue where it wrote nothing
    usable. ``catalogue``: texts from the catalogue alone, so that no profiles need to be written."""
    max_user_tokens: Positive = 96
    """Tokens of a user's text; what is longer is cut."""
    max_item_tokens: Positive = 64
    """Tokens of an item's text; what is longer is cut."""
    pairs: Positive | None = None
    """Supervised pairs to tune on, drawn uniformly; null: all."""
    valid: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the users whose pairs are kept for validation."""
    lora: LoraOptions = LoraOptions()
    loss: Literal["infonce", "pairwise"] = "infonce"
    """``infonce``: the supervising item against those of the whole batch and against the pair's own item. ``pairwise``:
    against the pair's own item alone, as in the publication."""
    temperature: float = Field(default=0.1, gt=0.0)
    """Divides the cosines of the contrastive loss."""
    batch_size: Positive = 64
    """Pairs of one optimizer step, over all workers."""
    accumulation: Positive = 1
    """Parts in which each worker computes its share of a batch; more parts save memory and change nothing else."""
    epochs: Positive = 5
    """Epochs at most."""
    patience: Positive = 2
    """Epochs without a lower validation loss before tuning stops."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Of AdamW, at its highest."""
    warmup: Fraction = 0.05
    """Share of the steps over which the rate rises; it falls along a cosine afterwards."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """Of AdamW."""
    clip: float = Field(default=1.0, gt=0.0)
    """Norm to which longer gradients are scaled down."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation."""
    zero: Literal[0, 1, 2, 3] | None = None
    """Stage of DeepSpeed's ZeRO: what is partitioned over the workers; null: 0 with one worker, 2 with several."""

    @model_validator(mode="after")
    def _batch_divides(self) -> TuneConfig:
        parts = self.workers * self.accumulation
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size is {self.batch_size}, which {self.workers} workers with accumulation {self.accumulation}"
                f" cannot divide: expected a multiple of {parts}"
            )
        return self

    @property
    def zero_stage(self) -> int:
        """The stage of ZeRO in use."""
        if self.zero is not None:
            return self.zero
        return 0 if self.workers == 1 else 2


class EncodeConfig(EngineOptions):
    """How the tuned encoder is run on the pairs."""

    pairs: Literal["all", "chosen"] = "all"
    """``all``: every train pair. ``chosen``: those that ``negatives`` chooses."""
    nearest: Positive = 8
    """Items that are written per pair: those whose teacher vectors are nearest to the pair's vector."""
    within: Literal["window", "catalogue"] = "window"
    """Which items these may be. ``window``: those in the user's rank window that pass the guard, see
    ``tune.supervision``. ``catalogue``: all that the user has not seen."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights."""
    batch_size: Positive = 1024
    """Pairs that are written together: what is written is not computed again after an interruption."""
