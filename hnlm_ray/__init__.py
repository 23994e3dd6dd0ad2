"""Collaborative filtering sharpened by hard negatives that a language model writes, built on Ray.

Importing the package loads neither torch nor ray. ``hnlm_ray.Recommender.load(path)`` answers from a bundle.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hnlm_ray.serving.recommend.recommender import Recommender

__all__ = ["Recommender", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for."""
    if name == "Recommender":
        from hnlm_ray.serving.recommend.recommender import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
