"""Fold new users and items into the space of an earlier run."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
