"""Let the language model write a hard negative for every chosen pair."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("negatives",))
