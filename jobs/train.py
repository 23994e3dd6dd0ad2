"""Train every variant with every seed."""

from hnlm_ray.cli import job

if __name__ == "__main__":
    job(("train",))
