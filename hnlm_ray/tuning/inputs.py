"""What tuning and encoding read from the artefacts of other stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hnlm_ray.config.tree import Config
from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import StoreError
from hnlm_ray.models.fitted import training_vectors
from hnlm_ray.run.kept import KeptRun
from hnlm_ray.run.stage import first_fit
from hnlm_ray.run.store import Artifact
from hnlm_ray.tuning.encoder import EncoderSpec, PairEncoder, load_body, merged_body, root_mean_square, with_adapter
from hnlm_ray.tuning.material import Material, Supervised, Teacher
from hnlm_ray.tuning.tokens import TokenRows

__all__ = ["ENCODER", "TuneInputs", "fetch_encoder"]

ENCODER = "encoder"
"""Subfolder of the artefact of the stage ``tune``, see :mod:`hnlm_ray.tuning.encoder`."""


@dataclass(frozen=True)
class TuneInputs:
    """Where to read; small, since it travels to every worker.

    Attributes:
        artifacts: by stage: ``prepare``, ``tokens``, the teacher's fit, and ``supervise`` for the material.
        teacher: the stage that fitted the teacher.
        is_cosine: whether its loss compares cosines, so that its vectors are to be brought to unit length; those of an
            earlier run are already.
    """

    artifacts: Mapping[str, Artifact]
    teacher: str
    is_cosine: bool

    @classmethod
    def of(cls, config: Config, artifacts: Mapping[str, Artifact]) -> TuneInputs:
        """Of a run, by stage; its teacher is the first fit of a variant, or that of an earlier run."""
        keep, teacher = config.tune.keep, config.teacher
        if keep is not None:
            tuned = KeptRun.open(keep).artifacts["tune"]
            return cls({**artifacts, "tune": tuned}, "fold_in", is_cosine=False)
        assert teacher is not None
        variant = config.train.variants[teacher]
        return cls(dict(artifacts), first_fit(config.train, teacher).name, variant.loss.is_cosine)

    def train(self) -> Interactions:
        """The train interactions."""
        return read_splits(self.artifacts["prepare"]).train

    def teacher_vectors(self, train: Interactions) -> Teacher:
        """The vectors of the teacher."""
        return Teacher(*training_vectors(self.artifacts[self.teacher], train, is_cosine=self.is_cosine))

    def tokens(self, train: Interactions) -> tuple[TokenRows, TokenRows]:
        """Of users and of items."""
        tokens = self.artifacts["tokens"]
        return (
            TokenRows.from_table(tokens.read("user_tokens"), "user", train.n_users),
            TokenRows.from_table(tokens.read("item_tokens"), "item", train.n_items),
        )

    def material(self, options: TuneConfig, seed: int) -> Material:
        """What the encoder is tuned on.

        Raises:
            DataError: no pair has a supervising negative, or all of them are of few users.
        """
        train = self.train()
        supervised = Supervised.from_table(self.artifacts["supervise"].read("supervision"), train.n_items)
        pairs, valid = supervised.budget(options.pairs, train.n_items, seed).split(options.valid, seed)
        return Material(pairs, valid, self.teacher_vectors(train), *self.tokens(train))


def new_encoder(teacher: Teacher, options: TuneConfig, seed: int) -> PairEncoder:
    """The encoder to tune, with a new adapter, on the CPU.

    Raises:
        EngineError: the body cannot be loaded.
        StoreError: ``options.start`` holds no encoder.
    """
    if options.start is None:
        body = load_body(options.model)
    else:
        body = merged_body(Path(options.start), EncoderSpec.read(Path(options.start)))
    scales = root_mean_square(teacher.users), root_mean_square(teacher.items)
    adapted, dim = with_adapter(body, options.lora, seed), teacher.users.shape[1]
    return PairEncoder(adapted, dim, seed, scales, options.pooling)


def fetch_encoder(tuned: Artifact, place: Path) -> Path:
    """A copy of the encoder of the stage ``tune`` in a local folder, ``place``.

    Raises:
        StoreError: there is none.
    """
    folder = tuned.folder(ENCODER)
    if not folder.exists:
        raise StoreError(f"there is no {folder.path}", "delete the folder above it and run tune again")
    place.mkdir(parents=True, exist_ok=True)
    folder.fetch(place)
    return place
