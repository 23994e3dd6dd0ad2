"""Runs the body of a tuned encoder in vLLM, from prompt embeddings to pooled outputs.

The vLLM stage of Ray Data takes token ids only, so the engine runs in an actor of this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.tuning import EncodeConfig, Pooling
from hnlm_ray.errors import EngineError

if TYPE_CHECKING:
    import torch

__all__ = ["VllmBody", "body_env", "body_needs"]


_CPU_BLOCK = 32
"""Tokens per block of vLLM's cache, which shares whole blocks; its CPU kernels need multiples of 32."""


class VllmBody:
    """An engine that pools the body's last layer over each sequence: its mean, or its last token.

    With the last token of a causal body, vLLM caches what sequences with the same beginning share.
    """

    def __init__(self, folder: Path, config: EncodeConfig, longest: int, pooling: Pooling) -> None:
        """Start the engine in this process.

        Args:
            folder: a complete Hugging Face model folder with its tokenizer, adapters merged.
            config: of the stage ``encode``.
            longest: tokens of the longest sequence.
            pooling: see :class:`hnlm_ray.config.tuning.TuneConfig`.

        Raises:
            EngineError: the engine does not start.
        """
        _let_bert_take_embeddings()
        from vllm import LLM
        from vllm.config import PoolerConfig

        options: dict[str, Any] = {
            "runner": "pooling",
            "convert": "embed",
            "enable_prompt_embeds": True,
            "dtype": config.dtype,
            "load_format": "safetensors",
            "max_model_len": longest,
            "pooler_config": PoolerConfig(seq_pooling_type=pooling.upper(), use_activation=False),
            "disable_log_stats": True,
        }
        if config.accelerator == "cpu":
            options |= {"enforce_eager": True, "distributed_executor_backend": "uni"}
            if pooling == "last":
                options["block_size"] = _CPU_BLOCK
        try:
            self._engine = LLM(str(folder), **(options | config.engine_kwargs))
        except (ValueError, RuntimeError, NotImplementedError) as error:
            what = str(error).strip().splitlines()[0]
            raise EngineError(f"vLLM cannot run the tuned encoder's body ({what})", "use another tune.model") from error

    def pool(self, sequences: Sequence[torch.Tensor]) -> tuple[torch.Tensor, npt.NDArray[np.int32]]:
        """Run embedded sequences, each (length, hidden).

        Returns:
            pooled outputs (B, hidden) float32, and (B,) int32, how many tokens of each sequence came from the cache.
        """
        import torch

        outputs = self._engine.embed([{"prompt_embeds": sequence} for sequence in sequences], use_tqdm=False)
        pooled = torch.tensor([output.outputs.embedding for output in outputs], dtype=torch.float32)
        return pooled, np.array([output.num_cached_tokens for output in outputs], np.int32)


def body_needs(config: EncodeConfig) -> dict[str, float]:
    """Resources that all replicas hold together."""
    count = float(config.replicas)
    return {"CPU": count} if config.accelerator == "cpu" else {"CPU": count, "GPU": count}


def body_env(config: EncodeConfig) -> dict[str, str]:
    """Environment variables for the process of an engine; vLLM reads them when it is imported."""
    if config.accelerator != "cpu":
        return {}
    return {
        "OMP_NUM_THREADS": str(config.cpu_threads),
        "VLLM_CPU_KVCACHE_SPACE": str(config.cpu_kv_cache_gib),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }


def _let_bert_take_embeddings() -> None:
    """Replace the BERT of vLLM 0.32, which reads segment numbers from token ids and fails without them."""
    import torch
    from vllm import ModelRegistry
    from vllm.model_executor.models import bert

    class SoftTokenBert(bert.BertEmbeddingModel):  # type: ignore[misc]
        """Without token ids, all tokens belong to the first segment."""

        def forward(self, input_ids: Any, positions: Any, *rest: Any, **options: Any) -> Any:
            if input_ids is None:
                input_ids = torch.zeros(len(positions), dtype=torch.int32, device=positions.device)
            return super().forward(input_ids, positions, *rest, **options)

    ModelRegistry.register_model("BertModel", SoftTokenBert)
