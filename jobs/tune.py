"""Tune the encoder of hard negatives."""

from hnlm_ray.cli import job

if __name__ == "__main__":
    job(("tune",))
