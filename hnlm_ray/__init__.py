"""Collaborative filtering sharpened by hard negatives that a language model writes, built on Ray.

Importing the package loads neither torch nor ray.
"""

__version__ = "0.1.0"
