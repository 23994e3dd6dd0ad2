"""The engines by the names that the configuration has for them."""

from __future__ import annotations

from hnlm_ray.config.language import EmbedConfig, LLMConfig
from hnlm_ray.language.engines.protocol import Embedder, Engine
from hnlm_ray.language.engines.scripted import ScriptedEmbedder, ScriptedEngine
from hnlm_ray.language.engines.vllm import VllmEmbedder, VllmEngine

__all__ = ["embedder_of", "engine_of"]


def engine_of(config: LLMConfig) -> Engine:
    """The engine that ``llm.engine`` names; no model is loaded."""
    match config.engine:
        case "vllm":
            return VllmEngine(config)
        case "http":
            from hnlm_ray.language.engines.http import HttpEngine  # loads httpx

            return HttpEngine(config)
        case "scripted":
            return ScriptedEngine(max_model_len=config.max_model_len, rows_per_block=config.batch_size)


def embedder_of(config: EmbedConfig) -> Embedder:
    """The engine that ``embed.engine`` names; no model is loaded."""
    match config.engine:
        case "vllm":
            return VllmEmbedder(config)
        case "scripted":
            return ScriptedEmbedder(rows_per_block=config.batch_size)
