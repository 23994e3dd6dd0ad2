"""Write the report of a run."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("report",))
