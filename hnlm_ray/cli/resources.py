"""What a configuration asks of the machine, against what there is: processors, GPUs, memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hnlm_ray.config.language import EmbedConfig, LLMConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import PackageError

__all__ = ["READERS", "WRITERS", "Demand", "demands", "shortages"]

_GIB = 2**30
WRITERS, READERS = {"item_profiles", "user_profiles", "negatives"}, {"vectors", "ground"}
"""Kinds of stages that run the language model, and those that run the text encoder."""

_WEIGHTS_OF_A_GPU = 0.9
"""The share of a GPU's memory that an engine takes, of which weights are the least."""


def shortages(config: Config, kinds: Collection[str]) -> Iterator[str]:
    """One sentence for each thing that a local Ray would lack; a cluster of others is not measured.

    Args:
        config: the whole configuration.
        kinds: the kinds of stages that are to run.
    """
    from hnlm_ray.cluster.connect import remote_address

    if remote_address(config.cluster) is None:
        yield from _processors(config)
        yield from _gpus(config, kinds)
        if PackageError.about("the size of a model", ("llm",)) is None:
            yield from _memory(config, kinds)


@dataclass(frozen=True)
class Demand:
    """What an option asks for.

    Attributes:
        option: its path.
        kinds: the kinds of stages that it is for; none for the service.
        least: logical CPUs without which the stage refuses to start.
        cpus: with those that its other processes take, so that it does not have to wait for them.
        gpus: that it holds.
    """

    option: str
    kinds: Collection[str]
    least: int
    cpus: int
    gpus: int


def demands(config: Config) -> list[Demand]:
    """What the stages of a configuration, and the service, hold at once."""
    llm, embed, train, tune, encode = config.llm, config.embed, config.train, config.tune, config.encode
    held = (
        ("llm.replicas", WRITERS, llm.replicas * llm.tensor_parallel if llm.engine == "vllm" else 0, llm),
        ("embed.replicas", READERS, embed.replicas if embed.engine == "vllm" else 0, embed),
        ("encode.replicas", {"encode"}, encode.replicas, encode),
        ("train.workers", {"train"}, train.workers or 1, train),
        ("tune.workers", {"tune"}, tune.workers, tune),
    )
    found = []
    for option, kinds, number, section in held:
        # An engine replica needs three slots more, for reading and writing, of which two are asked for.
        asked, spare = (2, 3) if option.endswith("replicas") else (0, 1)
        gpus = number if section.accelerator == "gpu" else 0
        found.append(Demand(option, kinds, number + asked, number + spare, gpus))
    return [*found, Demand("serve.replicas", (), config.serve.replicas, 1 + config.serve.replicas, 0)]


def _processors(config: Config) -> Iterator[str]:
    from hnlm_ray.cluster.connect import local_cpus

    have = local_cpus(config.cluster)
    for demand in demands(config):
        if demand.cpus > have:
            action = f"set cluster.num_cpus={demand.cpus} or lower {demand.option}"
            yield f"{demand.option} needs {demand.cpus} logical CPUs, a local Ray would have {have}; {action}."


def _gpus(config: Config, kinds: Collection[str]) -> Iterator[str]:
    from hnlm_ray.cluster.connect import local_gpus

    have = local_gpus()
    for demand in demands(config):
        if {*demand.kinds} & {*kinds} and demand.gpus > have:
            accelerator = f"{demand.option.partition('.')[0]}.accelerator"
            lower = f"lower {demand.option}" if have else f"set {accelerator}=cpu"
            action = f"{lower}, or name a cluster that has them with cluster.address"
            yield f"{accelerator}=gpu needs {demand.gpus} GPUs, this machine has {have}; {action}."


def _memory(config: Config, kinds: Collection[str]) -> Iterator[str]:
    engines: tuple[tuple[str, LLMConfig | EmbedConfig, int, bool], ...] = (
        ("llm", config.llm, config.llm.tensor_parallel, bool(WRITERS & {*kinds})),
        ("embed", config.embed, 1, bool(READERS & {*kinds})),
    )
    for section, options, gpus, is_needed in engines:
        if not is_needed or options.engine != "vllm" or not (weights := _weights_gib(section, options)):
            continue
        if options.accelerator == "gpu":
            have, needs = _gpu_gib(), weights / gpus / _WEIGHTS_OF_A_GPU
            device, action = "each GPU", "raise llm.tensor_parallel" if section == "llm" else "use a larger GPU"
        else:
            have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
            needs = options.replicas * (weights + options.cpu_kv_cache_gib)
            device, action = "this machine", f"lower {section}.replicas" if options.replicas > 1 else "use a GPU"
        if have is not None and needs > have:
            what = f"{section}.model={options.model} needs {needs:.1f} GiB for its weights and cache"
            yield f"{what}, {device} has {have:.1f}; take a smaller model, or {action}."


def _weights_gib(section: str, options: LLMConfig | EmbedConfig) -> float:
    """Of one engine; 0 where the size of the model is not known."""
    from hnlm_ray.demo import assets
    from hnlm_ray.language.speed import size_of

    size = size_of(assets.resolve(options.model, "embed" if section == "embed" else "generate"))
    return 0.0 if size is None else size.parameters * (4 if options.dtype == "float32" else 2) / _GIB


def _gpu_gib() -> float | None:
    """Memory of the smallest GPU; None where it cannot be told."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10.0, check=True)  # noqa: S603
        return min(float(line) for line in done.stdout.split()) / 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
