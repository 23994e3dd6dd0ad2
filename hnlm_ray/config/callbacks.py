"""Callbacks of one's own in a configuration: what is called after the epochs and the validations of a fit."""

from __future__ import annotations

from typing import Annotated

from hnlm_ray.config.plugins import CustomOptions, Plugged

__all__ = ["CallbackOptions", "CallbackSection"]


class CallbackOptions(CustomOptions):
    """A callback of your own: ``{class: my.module.Callback, ...}``, made with the name of the fit and its options."""


CallbackSection = Annotated[CallbackOptions, Plugged("hnlm_ray.callbacks", dict)]
