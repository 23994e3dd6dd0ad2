"""Fold new users and items into the space of an earlier run."""

from hnlm_ray.cli.main import job

if __name__ == "__main__":
    job(("fold_in",))
