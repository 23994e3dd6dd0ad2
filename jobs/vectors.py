"""Turn the text of every item into a vector."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("vectors",))
