"""Match the names that the language model wrote to items of the catalogue."""

from hnlm_ray.cli.jobs import job

if __name__ == "__main__":
    job(__file__)
