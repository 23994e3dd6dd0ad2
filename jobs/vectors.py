"""Turn the text of each item into a vector."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
