"""Give new users and items vectors in the space of an earlier run's teacher."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
