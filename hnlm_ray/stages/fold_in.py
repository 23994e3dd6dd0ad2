"""Fold new users and items into the vectors of the teacher of an earlier run."""

from __future__ import annotations

from safetensors.numpy import save

from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import ConfigError
from hnlm_ray.models.fitted import training_vectors
from hnlm_ray.run.kept import KeptRun
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.tuning.joining import fold_in, numbers_before

__all__ = ["run"]


def run(context: StageContext) -> StageSummary:
    """Write ``model.safetensors`` like a fit, with the earlier vectors of known users and items and folded-in new ones.

    Args:
        context: with the input ``prepare``; ``tune.keep`` names the earlier run.

    Raises:
        ConfigError: the earlier run is not finished, or has neither users nor items in common with this one.
    """
    prepare, keep = context.inputs["prepare"], context.config.tune.keep
    assert keep is not None
    kept = KeptRun.open(keep)
    earlier = kept.artifacts["prepare"]
    before = {
        table: numbers_before(*(one.read(table).sort_by(key)[f"{key}_id"] for one in (prepare, earlier)))
        for table, key in (("users", "user"), ("items", "item"))
    }
    if all((numbers < 0).all() for numbers in before.values()):
        raise ConfigError(
            f"tune.keep: the run {keep} has no user and no item of this one", "name a run on the same data"
        )
    is_cosine = kept.variant.loss.is_cosine
    vectors = training_vectors(kept.artifacts[kept.fit], read_splits(earlier).train, is_cosine=is_cosine)
    train = read_splits(prepare).train
    users, items = fold_in(train, (vectors[0], before["users"]), (vectors[1], before["items"]))
    context.output.write_bytes("model.safetensors", save({"user_vectors": users, "item_vectors": items}))
    new = {f"new_{name}": int((numbers < 0).sum()) for name, numbers in before.items()}
    context.say(f"fold in: {new['new_users']:,} users and {new['new_items']:,} items join {keep}")
    return StageSummary({}, new)
