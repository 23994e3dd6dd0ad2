"""What mixed precision gains: seconds of an epoch in float32 and in bfloat16, and how far the losses are apart.

    python benchmarks/precision.py [--device cuda|cpu] [--users N] [--items I] [--per-user K] [--dim D]

MF, LightGCN and SASRec with a softmax over 256 shared negatives, on generated histories; two epochs to warm up, and the
best of three. Needs neither Ray nor a language model. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

import numpy as np
import torch
from scale import world

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.histories import Histories
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation

WARM_UP, TIMED = 2, 3
BACKBONES: dict[str, Any] = {"mf": "mf", "lightgcn": "lightgcn", "sasrec": {"name": "sasrec", "length": 50}}
LOSS: dict[str, Any] = {
    "sampler": {"name": "uniform", "negatives": 256, "shared": True},
    "loss": {"name": "softmax", "temperature": 0.2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--per-user", type=int, default=50)
    parser.add_argument("--dim", type=int, default=256)
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    train = world(chosen.users, chosen.items, chosen.per_user)
    options = {"dim": chosen.dim, "batch_size": 8192, **LOSS}
    found = {
        backbone: measured(train, {"backbone": section, **options}, device) for backbone, section in BACKBONES.items()
    }
    print(json.dumps({"benchmark": "precision", "device": name, "pairs": len(train), **found}))


def measured(train: Interactions, options: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Seconds of an epoch in both precisions, their ratio, and the relative difference of the last epoch's loss."""
    runs = {
        precision: epochs(train, {"precision": precision, **options}, device) for precision in ("float32", "bfloat16")
    }
    (plain, plain_loss), (mixed, mixed_loss) = runs.values()
    return {
        "s_per_epoch": {precision: round(seconds, 3) for precision, (seconds, _) in runs.items()},
        "times": round(plain / mixed, 2),
        "difference": float(f"{abs(mixed_loss - plain_loss) / abs(plain_loss):.1e}"),
    }


def epochs(train: Interactions, options: dict[str, Any], device: torch.device) -> tuple[float, float]:
    variant = VariantConfig.model_validate(options)
    side = SideInformation(histories=in_any_order(train)) if variant.backbone.name == "sasrec" else SideInformation()
    loop = TrainingLoop(Shard.cut(train, train, 0, 1), variant, 0, side, device)
    for _ in range(WARM_UP + TIMED):
        loop.run_epoch()
    history = loop.progress.history
    ends = np.array([record.seconds for record in history])
    return float(np.diff(ends)[-TIMED:].min()), history[-1].loss


def in_any_order(train: Interactions) -> Histories:
    """The order of the items says nothing, and costs the same."""
    return Histories(train.offsets, train.items)


if __name__ == "__main__":
    main()
