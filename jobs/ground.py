"""Match the written negatives to the catalogue."""

from hnlm_ray.cli import job

if __name__ == "__main__":
    job(("ground",))
