"""Make what is served of the best fit of each served variant."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
