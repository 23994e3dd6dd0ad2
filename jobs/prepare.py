"""Read, filter and split the raw data."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("prepare",))
