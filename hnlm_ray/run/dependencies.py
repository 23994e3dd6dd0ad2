"""What the result of a stage depends on besides its inputs: options, prompts, model weights, raw files.

Options that change where or how fast a stage runs are left out on purpose: a run may go on with more replicas or other
batch sizes without writing anything again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow.fs as pafs

from hnlm_ray.config.data import DataConfig
from hnlm_ray.config.language import AnswerOptions
from hnlm_ray.config.tree import Config
from hnlm_ray.demo import assets
from hnlm_ray.errors import DataError
from hnlm_ray.language.prompts.render import version
from hnlm_ray.language.prompts.wording import Task, Wording
from hnlm_ray.run.digests import model_digest
from hnlm_ray.run.feedback import event_files
from hnlm_ray.run.kept import KeptRun
from hnlm_ray.run.places import resolve
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.trials import draw_trials

__all__ = [
    "Depends",
    "bundle",
    "embedding",
    "encoding",
    "evaluation",
    "fit",
    "grounding",
    "guard",
    "is_decisive",
    "kept",
    "negatives",
    "neighbours",
    "nothing",
    "profiles",
    "raw_data",
    "study",
    "supervision",
    "tokens",
    "trials",
    "tuning",
]

_LLM = {
    "engine", "model", "dtype", "max_model_len", "engine_kwargs", "top_p", "top_k", "min_p", "repetition_penalty",
    "frequency_penalty", "presence_penalty", "retries", "retry_temperature", "retry_frequency_penalty",
    "chat_template_kwargs",
}  # fmt: skip
_HTTP = {"response_format", "max_tokens_field", "extra_body"}
_EMBED = {"engine", "model", "pooling", "dtype", "max_model_len", "engine_kwargs"}
_GROUND = {"fuzzy", "vector"}
_ENCODE = {"pairs", "nearest", "within", "dtype", "engine_kwargs"}
_WHERE_TUNE = {"workers", "accelerator", "accumulation", "zero", "max_failures"}
_NOT_TUNE = {
    "teacher", "supervision", "texts", "max_user_tokens", "max_item_tokens",  # in the inputs already
    *_WHERE_TUNE,
}  # fmt: skip
_EVALUATE = {"cutoffs", "trec"}

_DECISIVE: Mapping[str, Collection[str]] = {
    "run": (), "cluster": (), "search": (), "study": (), "tracking": (), "embed": _EMBED, "encode": _ENCODE,
    "llm": {*_LLM, "http.url", *(f"http.{name}" for name in _HTTP)},
    "neighbours": {"keep"}, "ground": _GROUND, "train": {"seeds", "variants"}, "evaluate": _EVALUATE,
    "serve": {"text_encoder_mib"},
}  # fmt: skip
"""What fingerprints cover of the sections that they do not cover as a whole; ``tune`` is the other way round."""

Depends = Mapping[str, Any]
"""JSON values."""


def is_decisive(path: Sequence[str]) -> bool:
    """Whether an option decides what a run is: whether it is part of what some stage depends on.

    Which variants become bundles is no such option: it decides which stages there are, not what is in them.

    Args:
        path: the keys that lead to the option, for example ``("train", "seeds")``.
    """
    section, *rest = path
    if section == "tune":
        return not rest or rest[0] not in _WHERE_TUNE
    covered = _DECISIVE.get(section)
    return covered is None or any(".".join(rest[:depth]) in covered for depth in (1, 2))


def nothing(config: Config, key: StageKey) -> Depends:
    """A stage that its inputs decide alone."""
    return {}


def raw_data(config: Config, key: StageKey) -> Depends:
    """Raw files, files of feedback, and how they are read; feedback counts by its content, wherever it lies.

    Raises:
        DataError: they do not exist.
    """
    data = config.data
    unused = {"noun", "feedback", "feedback_until"} | (set() if data.reader is not None else {"reader"})
    options = data.model_dump(mode="json", exclude=unused)
    feedback = {} if data.feedback is None else {"feedback": event_files(data.feedback, data.feedback_until)}
    return {"data": options, "files": _files(data, config.run), **feedback}


def profiles(task: Task, config: Config, key: StageKey) -> Depends:
    """A stage that writes profiles; the choice of pairs decides who gets one."""
    scope = {} if config.profiles.scope == "all" else _pairs(config)
    return {**_writing(config, task, config.profiles), **scope}


def negatives(config: Config, key: StageKey) -> Depends:
    """Written negatives."""
    return _writing(config, "negative", config.negatives)


def embedding(config: Config, key: StageKey) -> Depends:
    """Texts as vectors; which texts, where they are not the usual ones."""
    embed = config.embed
    weights = model_digest(assets.resolve(embed.model, "embed")) if embed.engine == "vllm" else None
    texts = {} if key.variant is None else {"texts": key.variant}
    return {"embed": embed.model_dump(mode="json", include=_EMBED), "weights": weights, **texts}


def grounding(config: Config, key: StageKey) -> Depends:
    """Names matched to items."""
    return {**embedding(config, key), "ground": config.ground.model_dump(mode="json", include=_GROUND)}


def neighbours(config: Config, key: StageKey) -> Depends:
    """The nearest items of every item."""
    return {"source": key.variant, "keep": config.neighbours.keep}


def guard(config: Config, key: StageKey) -> Depends:
    """The items that a blend of teachers ranks first for every user."""
    return {"guard": config.guards[str(key.variant)].model_dump(mode="json", exclude={"user_block"})}


def fit(config: Config, key: StageKey) -> Depends:
    """A variant with a seed; the members of an ensemble are among its options, and their fits among its inputs."""
    return {"variant": config.train.variants[str(key.variant)].model_dump(mode="json"), "seed": key.seed}


def supervision(config: Config, key: StageKey) -> Depends:
    """The choice of the negatives that the encoder is tuned to emit."""
    return {"supervision": config.tune.supervision.model_dump(mode="json")}


def tokens(config: Config, key: StageKey) -> Depends:
    """The texts of users and items as tokens of the body."""
    return {
        "weights": model_digest(assets.resolve(config.tune.model)),
        "texts": config.tune.model_dump(mode="json", include={"texts", "max_user_tokens", "max_item_tokens"}),
        "max_history": config.profiles.max_history,
    }


def tuning(config: Config, key: StageKey) -> Depends:
    """The tuned encoder."""
    return {
        "weights": model_digest(assets.resolve(config.tune.model)),
        "start": None if config.tune.start is None else model_digest(config.tune.start),
        "options": config.tune.model_dump(mode="json", exclude=_NOT_TUNE),
    }


def kept(config: Config, key: StageKey) -> Depends:
    """The fingerprints of the parts of an earlier run."""
    if config.tune.keep is None:
        return {}
    return {name: artifact.fingerprint for name, artifact in KeptRun.open(config.tune.keep).artifacts.items()}


def encoding(config: Config, key: StageKey) -> Depends:
    """The tuned encoder's vectors of pairs."""
    options = config.encode.model_dump(mode="json", include=_ENCODE)
    pairs = _pairs(config) if config.encode.pairs == "chosen" else {}
    return {"kept": kept(config, key), "options": options, "pairs": pairs}


def evaluation(config: Config, key: StageKey) -> Depends:
    """What is measured."""
    tune = config.tune.model_dump(mode="json", include={"teacher", "supervision"})
    return {**config.evaluate.model_dump(mode="json", include=_EVALUATE), "tune": tune}


def bundle(config: Config, key: StageKey) -> Depends:
    """What is served."""
    return {"variant": key.variant, "text_encoder_mib": config.serve.text_encoder_mib}


def trials(config: Config, key: StageKey) -> Depends:
    """The trials of a search themselves, so that an option that changes none of them repeats none."""
    tried = [
        (one.variant, one.number, one.options.model_dump(mode="json"), one.upstream) for one in draw_trials(config)
    ]
    search = config.search
    options = search.model_dump(mode="json", include={"seed", "epochs", "epoch_budget", "stopping"})
    if search.algorithm == "tpe":
        space = {path: domain.model_dump(mode="json") for path, domain in search.space.items()}
        options |= {"algorithm": "tpe", "startup": search.startup, "space": space}
    return {"trials": tried, **options}


def study(config: Config, key: StageKey) -> Depends:
    """How a study is judged; what is fitted is covered by the fingerprints of its fits."""
    return config.study.model_dump(mode="json", include={"against", "screening_seeds", "seeds"})


def _writing(config: Config, task: Task, options: AnswerOptions) -> Depends:
    llm = config.llm
    return {
        "llm": llm.model_dump(mode="json", include=_LLM),
        "weights": model_digest(assets.resolve(llm.model)) if llm.engine == "vllm" else llm.http.url,
        "endpoint": llm.http.model_dump(mode="json", include=_HTTP) if llm.engine == "http" else {},
        "prompt": version(Wording.of(task, options, config.data.noun)),
        "options": options.model_dump(mode="json"),
    }


def _pairs(config: Config) -> dict[str, Any]:
    """The choice of pairs."""
    choice = config.negatives.model_dump(mode="json", include={"policy", config.negatives.policy})
    return {"pairs": choice, "seed": config.seed}


def _files(data: DataConfig, run: str) -> list[str]:
    """Name, size and time of every raw file, so that changed data is read again; the run itself may lie among them."""
    if data.path is None:
        return []
    filesystem, root = resolve(data.path, DataError)
    info = filesystem.get_file_info(root)
    if info.type == pafs.FileType.NotFound:
        raise DataError(f"data.path {data.path} does not exist", "give the folder that holds the raw files")
    listed = [info] if info.is_file else filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    own = f"{resolve(run)[1].rstrip('/')}/"
    raw = (entry for entry in listed if entry.is_file and not entry.path.startswith(own))
    return sorted(f"{entry.path}:{entry.size}:{entry.mtime_ns}" for entry in raw)
