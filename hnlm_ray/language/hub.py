"""Whether a model that is given by its name can be fetched: one quick try instead of an engine's retries."""

from __future__ import annotations

import os

__all__ = ["check_hub"]

_TIMEOUT_S = 5.0
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def check_hub(model: str) -> list[str]:
    """The problem of a model by its Hugging Face name, if it has one: neither in the cache nor on the hub.

    Args:
        model: for example ``Qwen/Qwen3-8B``.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        if isinstance(try_to_load_from_cache(model, "config.json"), str):
            return []
    except HFValidationError:
        return [f"{model} is no Hugging Face name; give one such as Qwen/Qwen3-8B, or a folder."]
    absent = f"{model} is neither a folder nor in the cache of Hugging Face"
    offline = next((name for name in _OFFLINE if os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON")), None)
    if offline is not None:
        return [f"{absent}, and {offline} is set; unset it, or give a folder."]
    return _asked(model, absent)


def _asked(model: str, absent: str) -> list[str]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().model_info(model, timeout=_TIMEOUT_S)
    except GatedRepoError:
        return [f"the hub gives {model} only to those who have been granted it; ask there, and set HF_TOKEN."]
    except RepositoryNotFoundError:
        return [f"the hub has no model {model}; check the name, or set HF_TOKEN if it is private."]
    except Exception as error:  # whatever the client of the hub raises about the network, or about its answer
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        return [f"{absent}, and the hub cannot be reached ({reason}); give a folder, or connect this machine."]
    return []
