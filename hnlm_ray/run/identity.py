"""What the result of a stage depends on: the part of its fingerprint that is not its inputs.

Options that change where or how fast a stage runs are left out on purpose: a run may go on with more replicas or other
batch sizes without writing anything again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from pydantic import BaseModel

from hnlm_ray.config.data import DataConfig
from hnlm_ray.config.language import EmbedConfig, LLMConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.demo import assets
from hnlm_ray.errors import DataError
from hnlm_ray.language.prompts.render import Task, version
from hnlm_ray.run.kept import KeptRun
from hnlm_ray.run.trials import draw_trials

__all__ = ["identity"]

_LLM_RESULT = {
    "engine", "model", "dtype", "max_model_len", "engine_kwargs", "top_p", "retries", "retry_temperature",
    "chat_template_kwargs",
}  # fmt: skip
_EMBED_RESULT = {"engine", "model", "pooling", "dtype", "max_model_len", "engine_kwargs"}
_ENCODE_RESULT = {"pairs", "nearest", "within", "dtype", "engine_kwargs"}
_TUNE_PLACE = {
    "teacher", "supervision", "texts", "max_user_tokens", "max_item_tokens",  # in the inputs already
    "workers", "accelerator", "accumulation", "zero", "max_failures",
}  # fmt: skip
_HEAD_BYTES = 1 << 16


def identity(config: Config, kind: str, name: str) -> dict[str, Any]:
    """The options, prompts, model weights and raw files that decide what a stage writes, as JSON values.

    Args:
        config: the whole configuration.
        kind: the kind of stage.
        name: ``train.<variant>.s<seed>`` for a fit, ``bundle.<variant>`` for a second bundle, otherwise the kind.

    Raises:
        DataError: the raw data does not exist.
    """
    if kind == "train":
        variant = name.split(".", 1)[1].rpartition(".s")[0]
        return {"variant": config.train.variants[variant].model_dump(mode="json")}
    if kind == "bundle":
        variant = name.partition(".")[2] or config.serve.variant
        return {"variant": variant, "text_encoder_mib": config.serve.text_encoder_mib}
    rules: dict[str, Callable[[Config], dict[str, Any]]] = {
        "prepare": lambda c: {"data": c.data.model_dump(mode="json"), "files": _files(c.data)},
        "item_profiles": lambda c: {**_language_model(c.llm, "item_profile", c.profiles), **_scope(c)},
        "user_profiles": lambda c: {**_language_model(c.llm, "user_profile", c.profiles), **_scope(c)},
        "negatives": lambda c: _language_model(c.llm, "negative", c.negatives),
        "vectors": lambda c: _embedding(c.embed),
        "ground": lambda c: {**_embedding(c.embed), "ground": c.ground.model_dump(mode="json")},
        "supervise": lambda c: {"supervision": c.tune.supervision.model_dump(mode="json")},
        "tokens": lambda c: {
            "weights": _weights(assets.resolve(c.tune.model)),
            "texts": c.tune.model_dump(mode="json", include={"texts", "max_user_tokens", "max_item_tokens"}),
            "max_history": c.profiles.max_history,
        },
        "tune": lambda c: {
            "weights": _weights(assets.resolve(c.tune.model)),
            "start": None if c.tune.start is None else _weights(c.tune.start),
            "options": c.tune.model_dump(mode="json", exclude=_TUNE_PLACE),
        },
        "fold_in": _kept,
        "encode": lambda c: {
            "kept": _kept(c),
            "options": c.encode.model_dump(mode="json", include=_ENCODE_RESULT),
            "pairs": _pairs(c) if c.encode.pairs == "chosen" else {},
        },
        "evaluate": lambda c: {
            "cutoffs": c.evaluate.cutoffs,
            "trec": c.evaluate.trec,
            "tune": c.tune.model_dump(mode="json", include={"teacher", "supervision"}),
        },
        "search": _search,
    }
    return rules[kind](config) if kind in rules else {}


def _language_model(llm: LLMConfig, task: Task, options: BaseModel) -> dict[str, Any]:
    return {
        "llm": llm.model_dump(mode="json", include=_LLM_RESULT),
        "weights": _weights(assets.resolve(llm.model)) if llm.engine == "vllm" else llm.http.url,
        "prompt": version(task),
        "options": options.model_dump(mode="json"),
    }


def _scope(config: Config) -> dict[str, Any]:
    """The choice of pairs, where it decides who gets a profile."""
    return {} if config.profiles.scope == "all" else _pairs(config)


def _pairs(config: Config) -> dict[str, Any]:
    """The choice of pairs."""
    choice = config.negatives.model_dump(mode="json", include={"policy", config.negatives.policy})
    return {"pairs": choice, "seed": config.seed}


def _search(config: Config) -> dict[str, Any]:
    """The trials themselves, so that an option that changes none of them repeats none."""
    trials = draw_trials(config)
    tried = [(one.variant, one.number, one.options.model_dump(mode="json"), one.upstream) for one in trials]
    return {"trials": tried, "seed": config.search.seed, "epochs": config.search.epochs}


def _embedding(embed: EmbedConfig) -> dict[str, Any]:
    weights = _weights(assets.resolve(embed.model, "embed"))
    return {"embed": embed.model_dump(mode="json", include=_EMBED_RESULT), "weights": weights}


def _kept(config: Config) -> dict[str, str]:
    """The fingerprints of an earlier run's parts."""
    if config.tune.keep is None:
        return {}
    return {name: artifact.fingerprint for name, artifact in KeptRun.open(config.tune.keep).artifacts.items()}


def _weights(model: str) -> str:
    """A digest of a model folder: names, sizes and the head of each file. A hub name stands for itself."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".jinja", ".model"):
            digest.update(f"{path.name}:{path.stat().st_size}".encode())
            with path.open("rb") as stream:
                digest.update(stream.read(_HEAD_BYTES))
    return digest.hexdigest()


def _files(data: DataConfig) -> list[str]:
    """Name, size and time of every raw file, so that changed data is read again."""
    if data.path is None:
        return []
    filesystem, root = _open(data.path)
    info = filesystem.get_file_info(root)
    if info.type == pafs.FileType.NotFound:
        raise DataError(f"data.path {data.path} does not exist", "give the folder that holds the raw files")
    listed = [info] if info.is_file else filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    return sorted(f"{entry.path}:{entry.size}:{entry.mtime_ns}" for entry in listed if entry.is_file)


def _open(path: str) -> tuple[pafs.FileSystem, str]:
    if "://" in path:
        filesystem, root = pafs.FileSystem.from_uri(path)
        return filesystem, root
    return pafs.LocalFileSystem(), str(Path(path).expanduser().absolute())
