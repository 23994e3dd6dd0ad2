"""Compare every variant over several seeds, each tuned with the same number of trials."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
