"""CF training: :func:`hnlm_ray.training.fit.fit` is the whole of it in one call."""
