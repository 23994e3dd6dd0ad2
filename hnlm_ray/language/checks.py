"""What ``hnlm validate`` can tell about models and endpoints without starting an engine."""

from __future__ import annotations

from pathlib import Path

from hnlm_ray.config.language import EmbedConfig, LLMConfig
from hnlm_ray.config.weights import refuse_pickles
from hnlm_ray.demo import assets
from hnlm_ray.errors import EngineError
from hnlm_ray.language.engines.tokens import load_tokenizer
from hnlm_ray.language.hub import check_hub
from hnlm_ray.language.probe import check_endpoint

__all__ = ["check", "check_folder"]

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json")


def check(llm: LLMConfig | None, embed: EmbedConfig | None) -> list[str]:
    """Look for what would keep the engines from starting.

    Args:
        llm: the language model, or None where no stage needs it.
        embed: the text encoder, or None where no stage needs it.

    Returns:
        One sentence per problem.
    """
    problems: list[str] = []
    if llm is not None and llm.engine == "vllm":
        folder = assets.resolve(llm.model)
        problems += [f"llm.model: {problem}" for problem in check_folder(folder)]
        if not problems and Path(folder).is_dir() and load_tokenizer(folder).chat_template is None:
            problems.append(f"llm.model: {folder} has no chat template; use an instruction-tuned model.")
    elif llm is not None and llm.engine == "http":
        problems += check_endpoint(llm)
    if embed is not None and embed.engine == "vllm":
        problems += [f"embed.model: {problem}" for problem in check_folder(assets.resolve(embed.model, "embed"))]
    return problems


def check_folder(model: str) -> list[str]:
    """The problems of a model, one sentence each: its folder is missing or incomplete, or its weights are pickles.

    Args:
        model: a folder, or a Hugging Face name, which is looked up in the cache and on the hub.
    """
    folder = Path(model)
    if not folder.is_dir():
        looks_local = model.startswith((".", "/", "~")) or model.count("/") != 1
        return (
            [f"there is no folder {model}; give a folder or a Hugging Face name."] if looks_local else check_hub(model)
        )
    problems = []
    if not (folder / "config.json").is_file():
        problems.append(f"{model} has no config.json; give a complete model folder.")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        problems.append(f"{model} has no tokenizer ({', '.join(_TOKENIZERS)}); copy it beside the weights.")
    try:
        refuse_pickles(model)
        if not any(folder.glob("*.safetensors")):
            problems.append(f"{model} has no weights (*.safetensors); give a complete model folder.")
        if not problems:
            load_tokenizer(model)
    except EngineError as error:
        problems.append(str(error))
    return problems
