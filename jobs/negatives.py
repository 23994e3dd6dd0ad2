"""Let the language model name a hard negative for each chosen pair."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
