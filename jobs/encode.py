"""Run the tuned encoder over the pairs."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("encode",))
