"""How fast a model may write, from its number of parameters and the device: assumptions to plan with."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from hnlm_ray.demo import assets

__all__ = ["Device", "Size", "Speed", "device_here", "expected_speed", "size_of"]

_GPUS = {
    "B200": (8000, 2250), "H200": (4800, 989), "H100 NVL": (3900, 835), "H100 PCIe": (2000, 756), "H100": (3350, 989),
    "A100-SXM4-40GB": (1555, 312), "A100-PCIE-40GB": (1555, 312), "A100": (2000, 312), "L40S": (864, 362),
    "L4": (300, 121), "A10G": (600, 70), "A10": (600, 125), "V100": (900, 125), "T4": (320, 65),
    "RTX 4090": (1008, 165), "RTX 3090": (936, 71),
}  # fmt: skip
"""Memory bandwidth in GB/s and dense half-precision TFLOP/s, by a part of the name, from NVIDIA's data sheets."""
_REACHED = 0.5
"""The share of what memory and arithmetic of a GPU allow that an engine under Ray reaches."""
_LEAST_STEP_S = 0.005
"""Time of a step that does not depend on the model."""
_CPU_S, _CPU_S_PER_PARAMETER = 6.4e-4, 9.3e-11
"""Seconds of a thread per token: the line through 2,722 and 439 tokens/s that models of 1.0 and 42 million parameters
write on two cores (docs/results.md)."""
_BYTES = {"float32": 4}
"""Of a parameter; two in every other dtype."""
_IN_NAME = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Size:
    """The size of a model.

    Attributes:
        parameters: how many it has.
        source: where that is from, as a clause.
    """

    parameters: int
    source: str


@dataclass(frozen=True)
class Device:
    """What an engine runs on.

    Attributes:
        name: for people.
        bandwidth: bytes per second of the memory; 0 for a CPU.
        flops: operations per second in half precision; 0 for a CPU.
        threads: of a CPU; 0 for a GPU.
    """

    name: str
    bandwidth: float
    flops: float
    threads: int


@dataclass(frozen=True)
class Speed:
    """What one engine may write.

    Attributes:
        tokens_per_s: None if that is not known.
        basis: what it rests on, or what is not known, as a clause.
    """

    tokens_per_s: float | None
    basis: str


def size_of(model: str) -> Size | None:
    """The size of a model, without asking the network: by its weights here or in the cache, or else by its name.

    Args:
        model: a folder, a Hugging Face name, or ``demo``.
    """
    weights = sorted(_folder(model).glob("*.safetensors")) if model else []
    try:
        if parameters := sum(_parameters(path) for path in weights):
            return Size(parameters, f"{parameters / 1e6:,.1f} million parameters in its weights")
    except (OSError, ValueError, RuntimeError):  # what is damaged is for `hnlm validate` to tell
        return None
    named = _IN_NAME.findall(Path(model).name)
    if not named:
        return None
    number, unit = named[0]
    parameters = round(float(number) * (1e9 if unit in "bB" else 1e6))
    return Size(parameters, f"{parameters / 1e6:,.0f} million parameters by its name")


def device_here(accelerator: str, threads: int, gpus: int = 1) -> Device | str:
    """The device of an engine, or why its speed is not known, as a clause.

    Args:
        accelerator: ``cpu`` or ``gpu``.
        threads: of an engine on a CPU.
        gpus: GPUs of one engine.
    """
    if accelerator == "cpu":
        return Device(f"{threads} threads of a CPU", 0.0, 0.0, threads)
    import torch

    if not torch.cuda.is_available():
        return "this machine has no GPU to tell the speed from"
    name = torch.cuda.get_device_name(0)
    known = next((figures for part, figures in _GPUS.items() if re.search(rf"\b{re.escape(part)}\b", name)), None)
    if known is None:
        return f"the speed of the GPU {name} is not known"
    return Device(f"{gpus} x {name}", known[0] * 1e9 * gpus, known[1] * 1e12 * gpus, 0)


def expected_speed(model: str, dtype: str, rows: int, device: Device | str) -> Speed:
    """What one engine may write.

    On a GPU, a step reads all weights once, computes two operations per parameter and row, and writes a token of each
    row; half of that is assumed. On a CPU, a token takes a constant time and one per parameter.

    Args:
        model: a folder, a Hugging Face name, or ``demo``.
        dtype: of the weights.
        rows: that are worked on at a time.
        device: from :func:`device_here`.
    """
    size = size_of(model)
    if size is None:
        return Speed(None, f"the size of {model or 'the model'} is not known here")
    if isinstance(device, str):
        return Speed(None, device)
    if not device.bandwidth:
        per_token = (_CPU_S + _CPU_S_PER_PARAMETER * size.parameters) / device.threads
        return Speed(_rounded(1 / per_token), f"{device.name}, {size.source}")
    read = size.parameters * _BYTES.get(dtype, 2) / device.bandwidth
    step = max(read + 2 * size.parameters * rows / device.flops, _LEAST_STEP_S)
    return Speed(_rounded(_REACHED * rows / step), f"{device.name}, {size.source}, {rows} rows at a time")


def _folder(model: str) -> Path:
    """The folder of a model; one that does not exist where it is neither here nor in the cache."""
    folder = Path(assets.resolve(model))
    if folder.is_dir() or model.count("/") != 1:
        return folder
    from transformers.utils import cached_file

    try:
        found = cached_file(model, "config.json", local_files_only=True)
    except (OSError, ValueError):
        return folder
    return Path(found).parent if found else folder


def _parameters(path: Path) -> int:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as weights:
            return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _rounded(value: float) -> float:
    """To two digits, since no assumption is more exact."""
    return float(f"{value:.2g}")
