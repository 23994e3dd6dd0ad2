"""Write the report as one page."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
