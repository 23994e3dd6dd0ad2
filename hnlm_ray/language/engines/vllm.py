"""vLLM under Ray Data: generation and pooling. No other module imports ``ray.data.llm``.

Rendering, chat template and tokenization are one map before the engine. The engine is in an actor that stays when the
map ends, and answers the next one of the same model and options: a second pass, or another stage. A row that cannot be
rendered passes the engine by the column ``__inference_error__``, with which Ray Data's own stages mark failed rows.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from hnlm_ray.cluster.kept import KeptActor, kept_actors
from hnlm_ray.cluster.maps import actor_limits, mapped, old_names_allowed, task_limits
from hnlm_ray.config.language import EmbedConfig, LLMConfig
from hnlm_ray.config.weights import refuse_pickles
from hnlm_ray.demo import assets
from hnlm_ray.errors import ConfigError
from hnlm_ray.language.engines.protocol import EMBEDDINGS, Call
from hnlm_ray.language.engines.rendering import RenderedRow, Reply, completions, render
from hnlm_ray.language.engines.tokens import chat_budget, chat_tokens, cut_tokens, load_tokenizer

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.data import Dataset

__all__ = ["VllmEmbedder", "VllmEngine"]

_ERROR = "__inference_error__"
_ANSWER = ("id", "generated_text", "num_input_tokens", "num_generated_tokens")
"""What is kept of the columns of an answered row."""
_CPU_BATCH_TOKENS = 4096
_CALLS_OF_A_HOST = 1000
"""At a time: those who send rows limit how many they send."""
_Value = TypeVar("_Value")
Row = Callable[[dict[str, Any]], dict[str, Any]]


class VllmEngine:
    """Generation that allows, token by token, only what the JSON schema of the task allows."""

    def __init__(self, config: LLMConfig) -> None:
        self.config = config
        self.model = assets.resolve(config.model)

    @property
    def rows_per_block(self) -> int:
        """One block is one batch of the engine."""
        return self.config.batch_size

    def needs(self) -> Mapping[str, float]:
        """The CPUs and GPUs of all replicas."""
        return _needs(self.config.accelerator, self.config.replicas, self.config.tensor_parallel)

    def answer(self, requests: Dataset, call: Call) -> Dataset:
        """See :class:`hnlm_ray.language.engines.protocol.Engine`.

        Raises:
            EngineError: the model's weights are pickles.
        """
        import ray

        tokenized = mapped(
            requests,
            functools.partial(_tokenized, ray.put(call), self.model, self.config),
            retries=0,
            compute=ray.data.TaskPoolStrategy(size=self.config.replicas),
            batch_size=self.config.batch_size,
        )
        answered = _through_engine(
            tokenized, self._processor_config(), _sampling, lambda row: {name: row[name] for name in _ANSWER}
        )
        return mapped(answered, functools.partial(_finished, call.max_output_tokens), retries=0, batch_size=None)

    def _processor_config(self) -> Any:
        config = self.config
        engine_kwargs: dict[str, Any] = {
            "max_model_len": config.max_model_len,
            "dtype": config.dtype,
            "tensor_parallel_size": config.tensor_parallel,
            # A weak model under a grammar that allows white space can write nothing else until its token limit.
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            # Answers are read whole; by default, each token of each answer would wake a coroutine.
            "stream_interval": config.max_model_len,
        }
        return _processor(config, self.model, "generate", config.tensor_parallel, engine_kwargs)


class VllmEmbedder:
    """Text vectors from any model that vLLM can pool."""

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config
        self.model = assets.resolve(config.model, "embed")

    @property
    def rows_per_block(self) -> int:
        """One block is one batch of the engine."""
        return self.config.batch_size

    def needs(self) -> Mapping[str, float]:
        """The CPUs and GPUs of all replicas."""
        return _needs(self.config.accelerator, self.config.replicas, 1)

    def embed(self, texts: Dataset) -> Dataset:
        """See :class:`hnlm_ray.language.engines.protocol.Embedder`; a text is cut at ``embed.max_model_len`` tokens.

        Raises:
            EngineError: the model's weights are pickles.
        """
        import ray

        config = self.config
        engine_kwargs = {"max_model_len": config.max_model_len, "dtype": config.dtype, **self._pooler()}
        tokenized = mapped(
            texts,
            functools.partial(_tokenized_texts, self.model, config.max_model_len),
            retries=0,
            compute=ray.data.TaskPoolStrategy(size=config.replicas),
            batch_size=config.batch_size,
        )
        vectors = _through_engine(
            tokenized,
            _processor(config, self.model, "embed", 1, engine_kwargs),
            lambda row: {"tokenized_prompt": row["tokens"]},
            lambda row: {"id": row["id"], "embeddings": row["embeddings"]},
        )
        return mapped(vectors, _embeddings, retries=0, batch_size=None)

    def _pooler(self) -> dict[str, Any]:
        pooling, folder = self.config.pooling, Path(self.model)
        if pooling == "auto":
            # vLLM reads the pooling of sentence-transformers folders; of a bare language model it takes the last token.
            if not folder.is_dir() or (folder / "modules.json").exists():
                return {}
            pooling = "mean"
        return {"pooler_config": {"seq_pooling_type": pooling.upper()}}


def _needs(accelerator: str, replicas: int, tensor_parallel: int) -> dict[str, float]:
    devices = float(replicas * tensor_parallel)
    return {"CPU": devices} if accelerator == "cpu" else {"CPU": devices, "GPU": devices}


def _processor(
    config: LLMConfig | EmbedConfig, model: str, task: str, tensor_parallel: int, engine_kwargs: dict[str, Any]
) -> Any:
    """The configuration of a pool of engines that take token ids.

    Raises:
        EngineError: the model's weights are pickles.
    """
    from ray.data.llm import vLLMEngineProcessorConfig

    refuse_pickles(model)
    engine_kwargs = {"load_format": "safetensors", **engine_kwargs}
    options: dict[str, Any] = {}
    if config.accelerator == "cpu":
        backend = "uni" if tensor_parallel == 1 else "mp"
        engine_kwargs = {
            "enforce_eager": True,
            "distributed_executor_backend": backend,
            "disable_log_stats": True,  # they cost a small model on a processor a seventh of its speed
            **engine_kwargs,
        }
        if task == "generate":
            # A prompt in chunks makes vLLM rewind its row's random generator, which a CPU generator cannot do: the
            # engine dies. So each prompt is read whole.
            engine_kwargs |= {
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(_CPU_BATCH_TOKENS, engine_kwargs["max_model_len"]),
            }
        options["placement_group_config"] = {"bundles": [{"CPU": 1}] * tensor_parallel}
        # Ray would give the engine as many threads as it asks CPUs for: one.
        variables = {"OMP_NUM_THREADS": str(config.cpu_threads), "VLLM_CPU_KVCACHE_SPACE": str(config.cpu_kv_cache_gib)}
        if tensor_parallel == 1:
            # On a CPU, vLLM would start one more process for the model, and spend 10 s on importing itself there.
            variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        options["runtime_env"] = {"env_vars": variables}
    return vLLMEngineProcessorConfig(
        model_source=model,
        task_type=task,
        engine_kwargs=engine_kwargs | config.engine_kwargs,
        batch_size=config.batch_size,
        concurrency=(config.replicas, config.replicas),  # a bare number would mean a pool of 1 to that many
        should_continue_on_error=True,
        log_engine_metrics=config.accelerator == "gpu",
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        **options,
    )


def _through_engine(tokenized: Dataset, config: Any, before: Row, after: Row) -> Dataset:
    """Map rows through engines that are started here, or that an earlier map has started.

    None is started again when it dies: whoever consumes the data set makes another map of the rows that are left, and
    finds the one that is at fault.
    """
    from ray.data.llm import build_processor

    tasks = task_limits(0)
    processor = build_processor(
        config, preprocess=before, postprocess=after, preprocess_map_kwargs=tasks, postprocess_map_kwargs=tasks
    )
    (name,) = processor.list_stage_names()
    _send_to_kept_engines(processor.get_stage_by_name(name), processor.DATA_COLUMN, config)
    with old_names_allowed():
        return processor(tokenized)


def _send_to_kept_engines(stage: Any, data_column: str, config: Any) -> None:
    """Have a stage of Ray Data send its rows to engines that stay when the map ends; those that are missing start."""
    import ray

    from hnlm_ray.language.engines.hosts import EngineHost, Forwarder

    options = dict(stage.map_batches_kwargs)
    forwarding = {name: options.pop(name) for name in ("max_concurrency", "zero_copy_batch")}
    del options["compute"]
    place = options.pop("ray_remote_args_fn", dict)
    engine = {**stage.fn_constructor_kwargs, "data_column": data_column}
    engine["expected_input_keys"] = list(stage.get_required_input_keys())

    def make() -> KeptActor:
        placed = place()
        strategy = placed.get("scheduling_strategy")
        chosen = {name: value for name, value in {**options, **placed}.items() if value is not None}
        host = ray.remote(**chosen, **actor_limits(0), max_concurrency=_CALLS_OF_A_HOST)(EngineHost)
        return KeptActor(host.remote(stage.fn, engine), getattr(strategy, "placement_group", None))

    replicas = config.concurrency[1]
    hosts = kept_actors(f"{stage.fn} {engine} {options}", replicas, make)
    pool = ray.data.ActorPoolStrategy(size=replicas)
    # An assignment would validate the stage anew and give it the resources of an engine again.
    vars(stage)["fn"] = Forwarder
    vars(stage)["fn_constructor_kwargs"] = {"hosts": hosts, "task_type": engine["task_type"]}
    vars(stage)["map_batches_kwargs"] = {**forwarding, **actor_limits(0), "compute": pool, "num_cpus": 0}


def _tokenized(call_ref: ObjectRef[Call], model: str, config: LLMConfig, requests: pa.Table) -> pa.Table:
    import ray

    call, tokenizer = ray.get(call_ref), load_tokenizer(model)
    options = config.chat_template_kwargs
    budget = chat_budget(tokenizer, config.max_model_len, call.max_output_tokens, options)
    rows = render(requests, call, budget)
    tokens: list[list[int]] = []
    errors = [row.error for row in rows]
    for place, row in enumerate(rows):
        try:
            tokens.append([] if row.prompt is None else chat_tokens(tokenizer, row.prompt, options))
        except ConfigError as error:
            tokens.append([])
            errors[place] = error.problem
    return pa.table(
        {
            "id": requests["id"],
            "tokens": pa.array(tokens, pa.list_(pa.int32())),
            "sampling": [_parameters(call, row) for row in rows],
            "error": pa.array(errors, pa.string()),
        }
    )


def _parameters(call: Call, row: RenderedRow) -> str:
    """The sampling parameters of one answer, as JSON; their names are the same for every row.

    Ray Data makes one struct of a block's parameters and fills what a row lacks with nulls, which vLLM does not take.
    So a row without a prompt has parameters too, though no model reads it.
    """
    sampling, schema = call.sampling, "{}"
    if row.prompt is not None:
        sampling, schema = call.sampling_of(row.prompt), json.dumps(call.schema_of(row.prompt))
    fixed = {"max_tokens": call.max_output_tokens, "seed": row.seed, "structured_outputs": {"json": schema}}
    return json.dumps(asdict(sampling) | fixed)


def _sampling(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "tokenized_prompt": row["tokens"],
        "sampling_params": json.loads(row["sampling"]),
        _ERROR: row["error"],
    }


def _finished(max_tokens: int, batch: pa.Table) -> pa.Table:
    """The engine's rows as completions; those of a failed request come with other columns than answered ones."""

    def reply(text: str, read: int, written: int, error: str) -> Reply:
        # The engine's stage does not say why an answer ended: one at the token limit was cut off unless it is closed.
        cut = written >= max_tokens and not text.endswith("}")
        said = Reply.failed(error) if error else Reply(text, "length" if cut else "stop")
        return replace(said, prompt_tokens=read, output_tokens=written)

    lengths = (_column(batch, name, 0) for name in ("num_input_tokens", "num_generated_tokens"))
    columns = _column(batch, "generated_text", ""), *lengths, _column(batch, _ERROR, "")
    return completions(batch["id"], [reply(*row) for row in zip(*columns, strict=True)])


def _tokenized_texts(model: str, limit: int, texts: pa.Table) -> pa.Table:
    return pa.table({"id": texts["id"], "tokens": cut_tokens(texts["text"], model, limit)})


def _embeddings(batch: pa.Table) -> pa.Table:
    vectors = batch["embeddings"].to_pylist() if "embeddings" in batch.column_names else [None] * batch.num_rows
    columns = {
        "id": batch["id"],
        "vector": pa.array([vector or [] for vector in vectors], pa.list_(pa.float32())),
        "error": pa.array(_column(batch, _ERROR, ""), pa.string()),
    }
    return pa.table(columns).cast(EMBEDDINGS)


def _column(batch: pa.Table, name: str, absent: _Value) -> list[_Value]:
    if name not in batch.column_names:
        return [absent] * batch.num_rows
    return [absent if value is None else value for value in batch[name].to_pylist()]
