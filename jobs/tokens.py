"""Turn the texts of users and items into tokens of the model to tune."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
