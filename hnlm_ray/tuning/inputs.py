"""What tuning and encoding read from the artifacts of other stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.config.tree import Config
from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.models.fitted import training_vectors
from hnlm_ray.run.kept import KeptRun
from hnlm_ray.run.stage import first_fit
from hnlm_ray.run.store import Artifact
from hnlm_ray.tables import pair_id
from hnlm_ray.tuning.supervision import OK
from hnlm_ray.tuning.tokens import TokenRows

__all__ = ["SupervisedPairs", "Teacher", "TuneInputs", "TuningData"]

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Teacher:
    """The vectors of the CF teacher.

    Attributes:
        users: (U, d) float32.
        items: (I, d) float32.
    """

    users: Floats
    items: Floats

    @property
    def item_units(self) -> Floats:
        """(I, d), each of unit length."""
        return unit_rows(self.items)


@dataclass(frozen=True)
class SupervisedPairs:
    """Pairs with a supervising negative.

    Attributes:
        users: (P,) int64.
        items: (P,) int64, the positive item of each pair.
        negatives: (P,) int64, the supervising item; -1 where the target is a mean of items.
        keys: (P,) int64, equal for pairs with the same target.
        targets: (P, d) float32 of unit length.
    """

    users: Numbers
    items: Numbers
    negatives: Numbers
    keys: Numbers
    targets: Floats

    @classmethod
    def from_table(cls, supervision: pa.Table, n_items: int) -> SupervisedPairs:
        """The rows of the table ``supervision`` whose status is ``ok``, in its order.

        Raises:
            DataError: there is none, or a target has no length.
        """
        rows = supervision.filter(pc.equal(supervision["status"], OK))
        if not rows.num_rows:
            raise DataError("no pair has a supervising negative", "widen tune.supervision or lower its guard")
        vectors = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        targets = vectors.reshape(rows.num_rows, -1).astype(np.float32)
        if not (np.linalg.norm(targets, axis=1) > 0).all():
            raise DataError("a supervising vector has no length", "train the teacher again")
        users, items = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
        negatives = pc.fill_null(rows["negative"], -1).to_numpy().astype(np.int64)
        # All pairs of a user have the same mean of items.
        keys = np.where(negatives >= 0, negatives, n_items + users)
        return cls(users, items, negatives, keys, unit_rows(targets))

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: npt.NDArray[np.integer]) -> SupervisedPairs:
        """Some of the pairs, in that order."""
        parts = (self.users, self.items, self.negatives, self.keys, self.targets)
        return SupervisedPairs(*(part[rows] for part in parts))

    def budget(self, pairs: int | None, n_items: int, seed: int) -> SupervisedPairs:
        """At most ``pairs`` of them, drawn uniformly, in the same order; None for all."""
        if pairs is None or pairs >= len(self):
            return self
        rank = seeds.hash_counters(seeds.derive(seed, "tune", "pairs"), pair_id(self.users, self.items, n_items))
        return self.take(np.sort(np.argsort(rank, kind="stable")[:pairs]))

    def split(self, valid: float, seed: int) -> tuple[SupervisedPairs, SupervisedPairs]:
        """The pairs to tune on, and those of a share ``valid`` of the users to validate on.

        Raises:
            DataError: one of the two is empty.
        """
        words = seeds.hash_counters(seeds.derive(seed, "tune", "valid"), self.users)
        held = words < np.uint64(min(valid * 2.0**64, 2.0**64 - 2048))
        if held.all() or not held.any():
            raise DataError(f"tune.valid={valid:g} leaves no pair on one side", "give more pairs or another share")
        return self.take(np.flatnonzero(~held)), self.take(np.flatnonzero(held))


@dataclass(frozen=True)
class TuningData:
    """What an encoder is tuned on: supervised pairs, the teacher's vectors, and the tokens of the texts.

    Attributes:
        pairs: to tune on.
        valid: to validate on; their users have no pair among the others.
        teacher: its vectors.
        user_tokens: tokens of every user's text.
        item_tokens: tokens of every item's text.
    """

    pairs: SupervisedPairs
    valid: SupervisedPairs
    teacher: Teacher
    user_tokens: TokenRows
    item_tokens: TokenRows

    @property
    def width(self) -> int:
        """Tokens of the longest sequence that a pair can have."""
        return int(self.user_tokens.lengths.max(initial=0) + self.item_tokens.lengths.max(initial=0)) + 2


@dataclass(frozen=True)
class TuneInputs:
    """Where tuning and encoding read from; small, since it travels to every worker.

    Attributes:
        artifacts: by stage: ``prepare``, ``tokens``, the teacher's fit, and ``supervise`` for tuning.
        teacher: the stage that fitted the teacher.
        is_cosine: whether its loss compares cosines, so that its vectors are to be brought to unit length; those of an
            earlier run are already.
    """

    artifacts: Mapping[str, Artifact]
    teacher: str
    is_cosine: bool

    @classmethod
    def of_run(cls, config: Config, artifacts: Mapping[str, Artifact]) -> TuneInputs:
        """Where a run reads: from its own teacher, the first fit of a variant, or from the run ``tune.keep``.

        Args:
            config: of the run.
            artifacts: of its stages, by name.
        """
        keep, teacher = config.tune.keep, config.teacher
        if keep is not None:
            return cls({**artifacts, "tune": KeptRun.open(keep).artifacts["tune"]}, "fold_in", is_cosine=False)
        assert teacher is not None
        fit = first_fit(config.train, teacher).name
        return cls(dict(artifacts), fit, config.train.variants[teacher].loss.is_cosine)

    def train(self) -> Interactions:
        """The train interactions."""
        return read_splits(self.artifacts["prepare"]).train

    def teacher_vectors(self, train: Interactions) -> Teacher:
        """The teacher's vectors, as samplers see them in training."""
        return Teacher(*training_vectors(self.artifacts[self.teacher], train, is_cosine=self.is_cosine))

    def tokens(self, train: Interactions) -> tuple[TokenRows, TokenRows]:
        """Tokens of the users' texts, and of the items'."""
        tokens = self.artifacts["tokens"]
        return (
            TokenRows.from_table(tokens.read("user_tokens"), "user", train.n_users),
            TokenRows.from_table(tokens.read("item_tokens"), "item", train.n_items),
        )

    def data(self, options: TuneConfig, seed: int) -> TuningData:
        """Read what the encoder is tuned on.

        Raises:
            DataError: no pair has a supervising negative, or none is left to tune on or to validate on.
        """
        train = self.train()
        supervised = SupervisedPairs.from_table(self.artifacts["supervise"].read("supervision"), train.n_items)
        pairs, valid = supervised.budget(options.pairs, train.n_items, seed).split(options.valid, seed)
        return TuningData(pairs, valid, self.teacher_vectors(train), *self.tokens(train))
