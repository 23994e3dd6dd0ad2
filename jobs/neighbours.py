"""Find the nearest items of every item, by every source that a variant or a guard names."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
