"""Let the language model write a profile of every user."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("user_profiles",))
