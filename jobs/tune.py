"""Tune the encoder of hard negatives."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("tune",))
