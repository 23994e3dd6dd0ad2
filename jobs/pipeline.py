"""Run every stage that is not complete yet: `ray job submit -- python jobs/pipeline.py --config ... key.path=value`."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
