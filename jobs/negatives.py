"""Let the language model write a hard negative for every chosen pair."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
