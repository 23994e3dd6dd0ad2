"""What a GPU gains: CF training, full ranking, tuning and reading texts on one, each beside a peer in the same run.

    python benchmarks/gpu.py [--device cuda|cpu] [--small]

Needs PyTorch, NumPy, SciPy, numba, PyArrow, transformers, peft, safetensors and pydantic; not Ray, vLLM or DeepSpeed.
All data is generated. At most six minutes on one GPU.

``train``: LightGCN (d 64, 3 layers), MF, DNS with 8 candidates and a softmax over 64 negatives, on a small and on a
large world. The same steps from the same values on the device, on this machine's CPUs, and by ``textbook.py`` on the
device; ``difference`` is the largest relative difference of the losses of the first steps between device and CPU.
``busy`` is the share of the time in which kernels run, ``waits`` how often a step makes the host wait for the device.
``ranking``: the 20 best unseen items of every user, beside the matrix products alone and beside a dense mask with
``torch.topk``. ``tuning``: a body of MiniLM's shape with LoRA in bfloat16, pairs/s and peak memory. ``reading``: the
vectors of 122,411 pairs of 31,336 texts by the factorised encoder in one PyTorch process. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scale import world
from textbook import our_step, textbook_step
from torch import nn

from hnlm_ray.config.tuning import LoraOptions, TuneConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.ranking import ranked_block, users_at_once
from hnlm_ray.kernels.rows import on_device
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation
from hnlm_ray.tuning.body import with_adapter
from hnlm_ray.tuning.encoder import Encoder
from hnlm_ray.tuning.factorised import FactorisedEncoder
from hnlm_ray.tuning.forms import FORMS
from hnlm_ray.tuning.inputs import SupervisedPairs, Teacher, TuningData
from hnlm_ray.tuning.loop import TuningLoop
from hnlm_ray.tuning.stepper import TorchStepper
from hnlm_ray.tuning.tokens import TokenRows, lay_out_texts

CPU = torch.device("cpu")
COMPARED, WARM_UP = 5, 5

Step = Callable[[Batch], torch.Tensor]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        worlds: users, items, interactions of a user, pairs of a batch.
        steps: of training that are timed on the device.
        on_cpu: of training that are timed on the CPUs.
        ranked: users and items of ``ranking``.
        pairs: of ``tuning``.
        read: users, items and pairs of ``reading``.
        body: layers, width, heads and inner width of the body.
    """

    worlds: dict[str, tuple[int, int, int, int]]
    steps: int
    on_cpu: int
    ranked: tuple[int, int]
    pairs: int
    read: tuple[int, int, int]
    body: tuple[int, int, int, int]


FULL = Size(
    {"ml-1m's": (6_040, 3_706, 165, 2_048), "large": (200_000, 50_000, 50, 16_384)},
    steps=60,
    on_cpu=4,
    ranked=(100_000, 50_000),
    pairs=8_192,
    read=(19_412, 11_924, 122_411),
    body=(6, 384, 12, 1536),
)
SMALL = Size({"tiny": (300, 200, 10, 256)}, 6, 6, (500, 300), 128, (60, 40, 300), (1, 32, 2, 64))

VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lightgcn": ({}, {}),
    "mf": ({"backbone": "mf"}, {"layers": 0}),
    "lightgcn_dns": ({"sampler": {"name": "dns", "candidates": 8}}, {"drawn": 8}),
    "lightgcn_softmax": (
        {"sampler": {"name": "uniform", "negatives": 64}, "loss": {"name": "softmax", "temperature": 0.2}},
        {"drawn": 64, "temperature": 0.2},
    ),
}
"""Options of ours, and of :func:`textbook.textbook_step`."""


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def losses_of(step: Step, batches: Sequence[Batch]) -> list[float]:
    return [float(step(batch)) for batch in batches]


def seconds_of(step: Callable[[Any], object], inputs: Sequence[Any], device: torch.device) -> float:
    """Mean seconds of a step of a stream that nobody waits for before its end."""
    wait(device)
    started = time.perf_counter()
    for one in inputs:
        step(one)
    wait(device)
    return (time.perf_counter() - started) / max(1, len(inputs))


def waits_of(step: Callable[[Any], object], inputs: Sequence[Any], device: torch.device) -> dict[str, Any]:
    """How often a step makes the host wait for the device, and where."""
    if device.type != "cuda":
        return {}
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for one in inputs:
            step(one)
    torch.cuda.set_sync_debug_mode("default")
    found = [one for one in caught if "synchroniz" in str(one.message)]
    places = sorted({f"{os.path.basename(one.filename)}:{one.lineno}" for one in found})
    return {"waits": round(len(found) / max(1, len(inputs)), 2)} | ({"waits_at": places} if places else {})


def busy_share(step: Callable[[Any], object], inputs: Sequence[Any], device: torch.device) -> dict[str, float]:
    """The share of the time in which a kernel runs, without the profiler's own cost: kernel seconds / a plain run."""
    if device.type != "cuda":
        return {}
    plain = seconds_of(step, inputs, device) * len(inputs)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for one in inputs:
            step(one)
        wait(device)
    kernels = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return {"busy": round(kernels / plain, 3), "kernels_ms": round(1e3 * kernels / len(inputs), 3)}


def train(size: Size, device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (n_users, n_items, per_user, batch_size) in size.worlds.items():
        interactions = world(n_users, n_items, per_user)
        for variant, (options, textbook) in VARIANTS.items():
            chosen = VariantConfig.model_validate({"batch_size": batch_size, **options})
            found[f"{name} {variant}"] = train_one(interactions, chosen, textbook, size, device)
    return found


def train_one(
    interactions: Interactions, variant: VariantConfig, textbook: dict[str, Any], size: Size, device: torch.device
) -> dict[str, Any]:
    def new_loop(on: torch.device) -> TrainingLoop:
        return TrainingLoop(Shard.cut(interactions, interactions, 0, 1), variant, 0, SideInformation(), on)

    ours, reference = new_loop(device), new_loop(CPU)
    batches = list(itertools.islice(itertools.cycle(ours.stream.epoch(1)), COMPARED + WARM_UP + 2 * size.steps))
    plain = textbook_step(new_loop(device), **textbook)
    step, on_cpu = our_step(ours), our_step(reference)
    first = batches[:COMPARED]
    losses = {"device": losses_of(step, first), "cpu": losses_of(on_cpu, first), "textbook": losses_of(plain, first)}
    losses_of(step, batches[COMPARED : COMPARED + WARM_UP])
    timed = batches[-size.steps :]
    times = {
        "device": seconds_of(step, timed, device),
        "textbook": seconds_of(plain, timed, device),
        "cpu": seconds_of(on_cpu, timed[: size.on_cpu], CPU),
    }
    return {
        "ms": {place: round(1e3 * seconds, 2) for place, seconds in times.items()},
        "times_cpu": round(times["cpu"] / times["device"], 1),
        "times_textbook": round(times["textbook"] / times["device"], 2),
        "difference": relative(losses["device"], losses["cpu"]),
        "textbook_difference": relative(losses["device"], losses["textbook"]),
        **waits_of(step, timed[:5], device),
        **busy_share(step, timed[:20], device),
    }


def relative(ours: Sequence[float], others: Sequence[float]) -> float:
    return float(f"{max(abs(a - b) / abs(b) for a, b in zip(ours, others, strict=True)):.1e}")


def ranking(size: Size, device: torch.device) -> dict[str, Any]:
    n_users, n_items = size.ranked
    seen = world(n_users, n_items, 50)
    users, items = (torch.randn(n, 64, device=device) for n in (n_users, n_items))
    block = users_at_once(n_items, device.type)
    cuts = [(first, min(first + block, n_users)) for first in range(0, n_users, block)]

    def ours(cut: tuple[int, int]) -> object:
        return ranked_block(users[slice(*cut)], items, seen.slice_users(*cut), 20).items

    def product(cut: tuple[int, int]) -> object:
        return users[slice(*cut)] @ items.T

    def masked(cut: tuple[int, int]) -> object:
        scores, own = users[slice(*cut)] @ items.T, seen.slice_users(*cut)
        rows = on_device(np.repeat(np.arange(own.n_users), own.degree), device)
        scores[rows, on_device(own.items.astype(np.int64), device)] = -torch.inf
        return scores.topk(20).indices.to(torch.int32).cpu()

    seconds = {}
    for name, task in (("ours", ours), ("product", product), ("masked_topk", masked)):
        task(cuts[0])
        seconds[name] = seconds_of(task, cuts, device) * len(cuts)
    return {
        "seconds": {name: round(taken, 3) for name, taken in seconds.items()},
        "users_per_s": {name: round(n_users / taken) for name, taken in seconds.items()},
        "ours_to_product": round(seconds["ours"] / seconds["product"], 2),
    }


def body_of(shape: tuple[int, int, int, int]) -> nn.Module:
    """A text encoder with drawn weights and, at full size, the shape of all-MiniLM-L6-v2."""
    from transformers import BertConfig, BertModel

    names = "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, **dict(zip(names, shape, strict=True)))
    body: nn.Module = BertModel(config, add_pooling_layer=False)
    return body.requires_grad_(False)


def texts(n: int, seed: int) -> TokenRows:
    """Token ids of ``n`` texts of 10 to 44 tokens, 27 on average, as those of toys."""
    rng = np.random.default_rng(seed)
    offsets = np.r_[0, np.cumsum(rng.integers(10, 45, n))].astype(np.int64)
    return TokenRows(rng.integers(1000, 30000, offsets[-1]).astype(np.int32), offsets)


def tuning_data(n: int) -> TuningData:
    rng = np.random.default_rng(0)
    n_users, n_items = max(8, n // 4), max(8, n // 8)
    teacher = Teacher(*(rng.normal(size=(size, 64)).astype(np.float32) for size in (n_users, n_items)))
    users, items, negatives = (rng.integers(0, size, n) for size in (n_users, n_items, n_items))
    pairs = SupervisedPairs(users, items, negatives, negatives, unit_rows(teacher.items[negatives]))
    return TuningData(pairs, pairs.take(np.arange(64)), teacher, texts(n_users, 1), texts(n_items, 2))


def tuning(size: Size, device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for form in FORMS:
        dtype = "bfloat16" if device.type == "cuda" else "float32"
        options = TuneConfig.model_validate({"form": form, "dtype": dtype, "batch_size": 64, "epochs": 2})
        data = tuning_data(size.pairs)
        encoder = FORMS[options.form](with_adapter(body_of(size.body), LoraOptions(), 0), 64, 0)
        apart = vectors_apart(encoder, data, device)
        loop = TuningLoop(TorchStepper(encoder, options, device), data, options, 0, device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        loop.run_epoch()
        warm = loop.progress.seconds
        loop.run_epoch()
        rate = loop.steps_per_epoch * options.batch_size / (loop.progress.seconds - warm)
        found[form] = {"pairs_per_s": round(rate), "dtype": dtype, "difference": apart}
        if device.type == "cuda":
            found[form] |= {"peak_mib": round(torch.cuda.max_memory_allocated() / 2**20)}
            batches = list(np.arange(5 * 64).reshape(5, 64))
            found[form] |= waits_of(functools.partial(loop._step, step=0), batches, device)
    return found


@torch.no_grad()
def vectors_apart(encoder: Encoder, data: TuningData, device: torch.device) -> float:
    """The largest difference of a coordinate of a pair's unit vector between device and CPU, in float32."""
    encoder.eval()  # nothing is dropped
    inputs = encoder.inputs(data.user_tokens, data.item_tokens, data.valid.users, data.valid.items)
    rows = torch.from_numpy(data.teacher.users[inputs.users]), torch.from_numpy(data.teacher.items[inputs.items])
    given = [*inputs.tensors, *rows]
    vectors = [encoder.to(place)(*(part.to(place) for part in given)).cpu() for place in (CPU, device)]
    return float(f"{(vectors[0] - vectors[1]).abs().max():.1e}")


@torch.inference_mode()
def reading(size: Size, device: torch.device) -> dict[str, Any]:
    n_users, n_items, n_pairs = size.read
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    encoder = FactorisedEncoder(body_of(size.body), 64, 0).to(device, dtype).eval()
    rng = np.random.default_rng(3)
    sides = {
        side: (texts(n, number), on_device(rng.normal(size=(n, 64)).astype(np.float32), device).to(dtype))
        for number, (side, n) in enumerate({"user": n_users, "item": n_items}.items())
    }
    pairs = [on_device(rng.integers(0, n, n_pairs), device) for n in (n_users, n_items)]

    def read(_: int) -> torch.Tensor:
        vectors = {side: read_side(encoder, side, *parts, device) for side, parts in sides.items()}
        return encoder.join(vectors["user"][pairs[0]], vectors["item"][pairs[1]]).cpu()

    first = seconds_of(read, [0], device)
    return {
        "pairs": n_pairs,
        "texts": n_users + n_items,
        "tokens": sum(len(tokens.values) + len(tokens.lengths) for tokens, _ in sides.values()),
        "first_s": round(first, 2),
        "again_s": round(seconds_of(read, [0], device), 2),
        "dtype": str(dtype).removeprefix("torch."),
    }


def read_side(
    encoder: FactorisedEncoder, side: Any, tokens: TokenRows, vectors: torch.Tensor, device: torch.device
) -> torch.Tensor:
    """Unit vectors of all users or items, texts of like length together."""
    order = np.argsort(tokens.lengths, kind="stable")
    found = torch.empty(len(order), 64, device=device)
    for rows in np.array_split(order, max(1, len(order) // 1024)):
        ids, mask = (on_device(part, device) for part in lay_out_texts(tokens, rows))
        own = on_device(rows, device)
        found[own] = encoder.finish(encoder._through_body(encoder.embed(ids, vectors[own], side), mask), side)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="sizes that take seconds, to see that it works")
    parser.add_argument("--what", nargs="*", default=("train", "ranking", "tuning", "reading"))
    chosen = parser.parse_args()
    size, device = SMALL if chosen.small else FULL, torch.device(chosen.device)
    parts = {"train": train, "ranking": ranking, "tuning": tuning, "reading": reading}
    report: dict[str, Any] = {
        "benchmark": "gpu",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
    }
    for name in chosen.what:
        started = time.perf_counter()
        report[name] = parts[name](size, device)
        report[f"{name}_took_s"] = round(time.perf_counter() - started, 1)
        print(f"{name}: {json.dumps(report[name])}", flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
