"""Let the language model describe the taste of each user."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
