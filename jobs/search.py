"""Search hyper-parameters, after whatever the trials read."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
