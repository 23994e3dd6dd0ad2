"""Choose the hard negative that the encoder is tuned to emit for each train pair."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
