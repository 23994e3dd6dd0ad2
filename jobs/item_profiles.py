"""Let the language model write who would enjoy each item."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
