"""Match the written negatives to the catalogue."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("ground",))
