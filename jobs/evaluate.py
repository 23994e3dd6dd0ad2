"""Rank the whole catalogue for every user with held-out interactions."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
