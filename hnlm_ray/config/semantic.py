"""Options of the language model's hard negatives, which a variant adds to those of its sampler."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from hnlm_ray.config.paths import lookup, walk
from hnlm_ray.config.section import Fraction, Section, Temperature, Weight

__all__ = ["ContrastOptions", "ExtraOptions", "MixingOptions", "Mode", "Semantic", "SemanticOptions"]


Mode = Literal["fixed", "rising", "learned"]


class MixingOptions(Section):
    """The semantic vector as a part of each sampled negative (HNLMRec, joint objective); for losses over pairs."""

    share: Fraction = 0.0
    """A negative becomes ``share * semantic + (1 - share) * sampled``, the semantic vector at the sampled one's
    length."""
    mode: Mode = "fixed"
    """``rising``: from 0 to ``share`` over the first half of the epochs. ``learned``: trained, from ``share``."""


class ExtraOptions(Section):
    """The semantic vector as one more negative; for softmax losses."""

    weight: Fraction = 0.0
    """It counts ``weight`` times as much as all sampled negatives together."""
    mode: Mode = "fixed"
    """As that of ``mixing``."""


class ContrastOptions(Section):
    """The contrast between a positive and the semantic vector of its pair, by cosines (HNLMRec)."""

    weight: Weight = 0.0
    """Weight of the contrast between positive and written negative."""
    temperature: Temperature = 0.2
    """Divides the scores or cosines before the softmax."""


class SemanticOptions(Section):
    """The hard negatives of the language model."""

    source: Literal["text", "item", "tuned", "retrieved"] = "text"
    """``text``: the text vector of the matched item, aligned by a trained module. ``item``: the CF vector of the
    matched item itself. ``tuned``: the vector that the tuned encoder gives to the pair, aligned by a trained module.
    ``retrieved``: the items nearest to that vector, by their CF vectors."""
    use: Literal["mix", "candidates"] = "mix"
    """``mix``: as ``mixing`` or ``extra`` say. ``candidates``: the items join those of a sampler that chooses among
    candidates; for the sources ``item`` and ``retrieved``."""
    mixing: MixingOptions = MixingOptions()
    extra: ExtraOptions = ExtraOptions()
    contrast: ContrastOptions = ContrastOptions()
    control: Literal["none", "shuffled", "random"] = "none"
    """To compare with: ``shuffled``, the vectors of other pairs; ``random``, random vectors of the same lengths."""
    alignment: Literal["trained", "frozen"] = "trained"
    """``frozen``: the module that aligns vectors stays as it starts; to compare with."""

    @property
    def has_items(self) -> bool:
        """Whether its negatives are items, which have CF vectors, and not vectors of another space."""
        return self.source in ("item", "retrieved")

    @property
    def is_tuned(self) -> bool:
        """Whether they come from a tuned encoder."""
        return self.source in ("tuned", "retrieved")

    @model_validator(mode="after")
    def _candidates_are_items(self) -> SemanticOptions:
        if self.use == "candidates" and not self.has_items:
            raise ValueError("use: candidates needs items: set source: item or retrieved")
        if self.use == "candidates" and (self.mixing, self.extra) != (MixingOptions(), ExtraOptions()):
            raise ValueError("mixing and extra have no effect with use: candidates")
        return self

    @model_validator(mode="after")
    def _learned_can_move(self) -> SemanticOptions:
        strengths = {"mixing.share": (self.mixing.share, self.mixing.mode)}
        strengths["extra.weight"] = (self.extra.weight, self.extra.mode)
        for path, (start, mode) in strengths.items():
            if mode == "learned" and not 0.0 < start < 1.0:
                raise ValueError(f"a learned {path} must start between 0 and 1, it is {start:g}")
        return self

    def __str__(self) -> str:
        """The source, and the options that differ from their defaults."""
        options = self.model_dump(exclude_defaults=True, exclude={"source"})
        found = ((path, lookup(options, path)) for path in walk(options))
        shown = ", ".join(f"{path}={value}" for path, value in found if not isinstance(value, dict))
        return f"{self.source}({shown})" if shown else self.source


def _is_section(value: Any) -> Any:
    if value is None or isinstance(value, dict | SemanticOptions):
        return value
    raise ValueError("expected a section, for example {source: text, mixing: {share: 0.1}}, or nothing")


Semantic = Annotated[SemanticOptions | None, BeforeValidator(_is_section)]
"""A section, or None."""
