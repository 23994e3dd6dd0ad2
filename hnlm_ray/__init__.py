"""Collaborative filtering sharpened by hard negatives that a language model writes, built on Ray.

Importing the package loads neither torch nor ray. On data frames, in this process: ``hnlm_ray.fit``,
``hnlm_ray.split``, ``hnlm_ray.evaluate`` and ``hnlm_ray.load``. ``hnlm_ray.Recommender.load(path)`` answers from a
bundle about single users, as a service does.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hnlm_ray.frames.fitting import fit
    from hnlm_ray.frames.measuring import evaluate, split
    from hnlm_ray.frames.recommender import FrameRecommender
    from hnlm_ray.serving.recommend.recommender import Recommender

    load = FrameRecommender.load

__all__ = ["FrameRecommender", "Recommender", "__version__", "evaluate", "fit", "load", "split"]

__version__ = "0.1.0"

_PLACES = {
    "FrameRecommender": "frames.recommender",
    "Recommender": "serving.recommend.recommender",
    "evaluate": "frames.measuring",
    "fit": "frames.fitting",
    "split": "frames.measuring",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for."""
    if name in _PLACES:
        return getattr(importlib.import_module(f"hnlm_ray.{_PLACES[name]}"), name)
    if name == "load":
        return __getattr__("FrameRecommender").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
