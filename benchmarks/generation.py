"""Speed of writing: a generation stage's engine under Ray Data beside plain vLLM in one process.

    make demo && python benchmarks/generation.py run=runs/demo [--hidden 512 --layers 12] [--repeat 4]

Both sides get the prompts of the stage ``negatives`` of a finished run, with the same tokens, schema, seeds and engine
options; the time to start an engine is not counted. With ``--hidden``, a Llama of that width with random weights and
the run's tokenizer writes: its words mean nothing, but its speed is that of a trained one. Prints one JSON line with
the tokens written per second by each.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1"}

import pyarrow as pa
from ray_rate import WARM_BLOCKS, rate_under_ray
from transformers import AutoConfig, LlamaForCausalLM

from hnlm_ray.cluster.connect import connected
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.demo import assets
from hnlm_ray.language.engines.protocol import Call, Sampling
from hnlm_ray.language.engines.tokens import chat_budget, chat_tokens, load_tokenizer
from hnlm_ray.language.engines.vllm import VllmEngine
from hnlm_ray.language.profiled import pairs_to_ask
from hnlm_ray.language.prompts.answers import json_schema, longest_profile
from hnlm_ray.language.requests import NegativeRenderer, negative_requests, profile_texts
from hnlm_ray.run.plan import plan

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", help="of the run, as for hnlm run")
    parser.add_argument("-c", "--config", type=Path, action="append")
    parser.add_argument("--repeat", type=int, default=1, help="send every prompt so many times")
    parser.add_argument("--prompts", type=int, default=1 << 30, help="at most so many")
    parser.add_argument("--hidden", type=int, help="width of a model with random weights")
    parser.add_argument("--layers", type=int, default=12, help="of that model")
    chosen = parser.parse_args()
    config = load_config(chosen.config or [DEMO], chosen.options)
    requests, call = _requests(config)
    size = config.llm.batch_size
    requests = _repeated(requests, chosen.repeat)
    requests = requests.slice(0, min(len(requests), chosen.prompts) // size * size)
    result: dict[str, Any] = {"benchmark": "generation", "prompts": len(requests), "block": size}
    with tempfile.TemporaryDirectory() as folder:
        if chosen.hidden is not None:
            result["parameters"] = _write_model(folder, config.llm.model, chosen.hidden, chosen.layers)
            config = load_config(chosen.config or [DEMO], [*chosen.options, f"llm.model={folder}"])
        result["ray_data_vllm"] = _under_ray(requests, call, config)
        result["vllm_alone"] = _alone(requests, call, config)
    print(json.dumps(result | {"to_alone": round(result["ray_data_vllm"] / result["vllm_alone"], 3)}))


def _repeated(requests: pa.Table, times: int) -> pa.Table:
    ids = requests["id"].to_numpy()
    copies = [requests.set_column(0, "id", pa.array(ids + copy * (int(ids.max()) + 1))) for copy in range(times)]
    return pa.concat_tables(copies)


def _write_model(folder: str, like: str, hidden: int, layers: int) -> int:
    """Returns its number of parameters."""
    base = assets.resolve(like)
    load_tokenizer(base).save_pretrained(folder)
    heads = hidden // 64
    sizes = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
    config = AutoConfig.from_pretrained(
        base, **sizes, num_attention_heads=heads, num_key_value_heads=heads, head_dim=64, initializer_range=0.02
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return int(model.num_parameters())


def _requests(config: Config) -> tuple[pa.Table, Call]:
    artifacts = plan(config).artifacts()
    prepare = artifacts["prepare"]
    items, n_users = prepare.read("items"), prepare.read("users", ["user"]).num_rows
    of_items, _ = profile_texts(artifacts["item_profiles"].read("item_profiles"), "item", len(items))
    of_users, _ = profile_texts(artifacts["user_profiles"].read("user_profiles"), "user", n_users)
    pairs = pairs_to_ask(config, functools.partial(prepare.parts, "interactions", by="user"), len(items))
    customers = of_users.take(pa.array(pairs // len(items)))
    options = config.negatives
    renderer = NegativeRenderer(items, of_items, options)
    sampling = Sampling.of(config.llm, options.temperature)
    return negative_requests(pairs, len(items), customers), Call(renderer, options.max_output_tokens, sampling, 7)


def _under_ray(requests: pa.Table, call: Call, config: Config) -> float:
    engine = VllmEngine(config.llm)
    with connected(config.cluster):
        return rate_under_ray(
            requests,
            engine.rows_per_block,
            lambda rows: engine.answer(rows, call),
            lambda block: sum(block["output_tokens"].to_pylist()),
        )


def _alone(requests: pa.Table, call: Call, config: Config) -> float:
    """All prompts at once, after those that warm the engine."""
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    engine, tokenizer = VllmEngine(config.llm), load_tokenizer(VllmEngine(config.llm).model)
    budget = chat_budget(tokenizer, config.llm.max_model_len, call.max_output_tokens, {})
    prompts = [chat_tokens(tokenizer, prompt_of(budget), {}) for prompt_of in call.renderer.prompts(requests)]
    options = engine._processor_config().engine_kwargs
    options.pop("task_type", None)  # Ray's own
    llm = LLM(engine.model, **options)
    schema = StructuredOutputsParams(
        json=json_schema(call.renderer.task, longest=longest_profile(call.max_output_tokens))
    )
    params = [
        SamplingParams(
            max_tokens=call.max_output_tokens, seed=int(seed), structured_outputs=schema, **call.sampling.sent()
        )
        for seed in call.row_seeds(requests["id"].to_numpy())
    ]
    inputs: list[Any] = [{"prompt_token_ids": prompt} for prompt in prompts]
    size = config.llm.batch_size
    warm = size * WARM_BLOCKS
    llm.generate(inputs[:warm], params[:warm], use_tqdm=False)
    started = time.monotonic()
    outputs = llm.generate(inputs[warm:], params[warm:], use_tqdm=False)
    written = sum(len(output.outputs[0].token_ids) for output in outputs)
    return round(written / (time.monotonic() - started), 1)


if __name__ == "__main__":
    main()
