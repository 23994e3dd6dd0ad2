"""Put the served variant into a bundle."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("bundle",))
