"""Tokenize the texts of users and items for the model to tune."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
