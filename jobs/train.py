"""Train every variant with every seed."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("train",))
