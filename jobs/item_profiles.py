"""Let the language model write a profile of every item."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
