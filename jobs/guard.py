"""Find unseen items that users would probably like, for every guard that a variant names."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
