"""The forms of the encoder by name: a new one to tune, and a tuned one from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.errors import StoreError
from hnlm_ray.tuning.body import load_body, with_adapter
from hnlm_ray.tuning.encoder import HEAD, Encoder, EncoderSpec, merged_body
from hnlm_ray.tuning.factorised import FactorisedEncoder
from hnlm_ray.tuning.inputs import Teacher
from hnlm_ray.tuning.pair_encoder import PairEncoder

__all__ = ["FORMS", "load_encoder", "new_encoder"]

FORMS: Mapping[str, type[FactorisedEncoder] | type[PairEncoder]] = {
    "factorised": FactorisedEncoder,
    "pair": PairEncoder,
}
"""By the name that ``tune.form`` and :class:`hnlm_ray.tuning.encoder.EncoderSpec` use."""


def new_encoder(teacher: Teacher, options: TuneConfig, seed: int) -> Encoder:
    """The encoder to tune, with a new adapter, on the CPU.

    Raises:
        EngineError: the body cannot be loaded.
        StoreError: ``options.start`` holds no encoder.
    """
    if options.start is None:
        body = load_body(options.model)
    else:
        start = Path(options.start).expanduser()
        body = merged_body(start, EncoderSpec.read(start))
    scales = _root_mean_square(teacher.users), _root_mean_square(teacher.items)
    adapted, dim = with_adapter(body, options.lora, seed), teacher.users.shape[1]
    return FORMS[options.form](adapted, dim, seed, scales, options.pooling)


def load_encoder(folder: Path) -> tuple[Encoder, EncoderSpec]:
    """An encoder from its folder for inference, with every adapter merged into the body.

    Raises:
        StoreError: a file is missing or damaged.
        EngineError: the body cannot be loaded.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    spec = EncoderSpec.read(folder)
    try:
        tensors = load_file(folder / HEAD)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{folder} holds no tuned encoder ({error})", "give the folder of a stage tune") from error
    encoder = FORMS[spec.form](merged_body(folder, spec), spec.dim, 0, pooling=spec.pooling)
    encoder.load_state_dict(tensors, strict=False)
    return encoder.eval(), spec


def _root_mean_square(vectors: npt.NDArray[np.floating[Any]]) -> float:
    """Root mean square of all coordinates; 1 where all are 0."""
    return float(np.sqrt(np.square(vectors, dtype=np.float64).mean())) or 1.0
