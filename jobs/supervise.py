"""Choose the hard negative that the language model is tuned to emit."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
