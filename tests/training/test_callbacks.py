"""Callbacks of one's own: what they are told, by which worker, and what becomes of their failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hnlm_ray
from hnlm_ray.config.load import load_config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import ConfigError, DataError, StageError
from hnlm_ray.run.dependencies import is_decisive
from hnlm_ray.testing.workers import run_workers
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training import checkpoint
from hnlm_ray.training.callbacks import Callback, Figures, build_callbacks
from hnlm_ray.training.fit import fit

TRAIN, VALID = random_world(40, 30, 0.2, 0)
PLAIN = VariantConfig(dim=8, epochs=4, batch_size=64, learning_rate=0.01, validate_every=2)


class Noted(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, Figures]] = []

    def on_epoch(self, epoch: int, figures: Figures) -> None:
        self.told.append(("epoch", epoch, figures))

    def on_validation(self, epoch: int, figures: Figures) -> None:
        self.told.append(("validation", epoch, figures))


class Failing(Callback):
    """Fails in the third epoch."""

    def on_epoch(self, epoch: int, figures: Figures) -> None:
        if epoch == 3:
            raise ZeroDivisionError("by zero")


def test_a_callback_is_told_the_learning_curve_in_plain_numbers() -> None:
    noted = Noted()
    progress = fit(TRAIN, VALID, PLAIN, 0, callbacks=[noted]).progress
    assert [(what, epoch) for what, epoch, _ in noted.told] == [
        ("epoch", 1), ("epoch", 2), ("validation", 2), ("epoch", 3), ("epoch", 4), ("validation", 4)
    ]  # fmt: skip
    rows: dict[int, dict[str, Any]] = {}
    for _, epoch, figures in noted.told:
        assert {type(value) for value in figures.values()} <= {int, float}
        rows.setdefault(epoch, {}).update(figures)
    for record in progress.history:
        expected = {key: value for key, value in vars(record).items() if key != "epoch" and value is not None}
        assert expected.items() <= rows[record.epoch].items()
    assert (rows[4]["best_epoch"], rows[4]["best_ndcg"]) == (progress.best_epoch, progress.best_ndcg)


def test_a_callback_changes_no_result_even_where_it_changes_what_it_was_told() -> None:
    class Greedy(Callback):
        def on_epoch(self, epoch: int, figures: Figures) -> None:
            figures.clear()  # type: ignore[attr-defined]

    noted = Noted()
    told = fit(TRAIN, VALID, PLAIN, 0, callbacks=[Greedy(), noted])
    untold = fit(TRAIN, VALID, PLAIN, 0)
    assert (told.item_vectors == untold.item_vectors).all()
    assert noted.told[0][2]["loss"] == untold.progress.history[0].loss


def test_a_fit_that_goes_on_tells_of_what_is_new(tmp_path: Path) -> None:
    half = PLAIN.model_copy(update={"epochs": 2})
    fit(TRAIN, VALID, half, 0, on_validation=lambda loop: checkpoint.save(loop, tmp_path))
    noted = Noted()
    fit(TRAIN, VALID, PLAIN, 0, resume_from=tmp_path, callbacks=[noted])
    assert [epoch for what, epoch, _ in noted.told if what == "epoch"] == [3, 4]


def test_a_failing_callback_is_one_sentence_with_its_cause() -> None:
    with pytest.raises(
        StageError, match=r"callback Failing failed in on_epoch of epoch 3 with ZeroDivisionError: by"
    ) as caught:
        fit(TRAIN, VALID, PLAIN, 0, callbacks=[Failing()])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)

    class Refusing(Callback):
        def on_validation(self, epoch: int, figures: Figures) -> None:
            raise DataError("that is enough", "stop")

    with pytest.raises(DataError, match="that is enough"):
        fit(TRAIN, VALID, PLAIN, 0, callbacks=[Refusing()])


def note_in_file(rank: int, folder: Path) -> None:
    noted = Noted()
    fit(TRAIN, VALID, PLAIN, 0, callbacks=[noted])
    (folder / f"{rank}.json").write_text(json.dumps(noted.told))


def test_worker_0_alone_calls_them(tmp_path: Path) -> None:
    run_workers(2, note_in_file, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert second == []
    noted = Noted()
    fit(TRAIN, VALID, PLAIN, 0, callbacks=[noted])
    for (what, epoch, figures), (_, _, alone) in zip(first, noted.told, strict=True):
        compared = "loss" if what == "epoch" else "valid_ndcg"
        assert figures[compared] == pytest.approx(alone[compared], rel=1e-3), epoch


def test_a_data_frame_is_fitted_with_callbacks() -> None:
    pairs = [(user, item) for user in range(30) for item in range(20) if (user * 7 + item * 3) % 5 < 2]
    noted = Noted()
    options = {"dim": 4, "epochs": 2, "validate_every": 1}
    model = hnlm_ray.fit(pd.DataFrame(pairs, columns=["user_id", "item_id"]), variant=options, callbacks=[noted])
    assert [figures["loss"] for what, _, figures in noted.told if what == "epoch"] == [
        row["loss"] for row in model.history
    ]


def test_a_callback_of_a_configuration_is_made_with_the_fit_and_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "class Own:\n    def __init__(self, fit, every): self.said = (fit, every)\n"
    (tmp_path / "own_callback.py").write_text(code + "    def on_epoch(self, epoch, figures): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = load_config([], ["train.callbacks=[{class: own_callback.Own, every: 2}]"])
    with pytest.raises(ConfigError, match=r"train.callbacks.0.class=own_callback.Own has no method on_validation"):
        build_callbacks(config.train.callbacks, "train.dns.s0")
    monkeypatch.delitem(__import__("sys").modules, "own_callback")
    (tmp_path / "own_callback.py").write_text(
        "from hnlm_ray.training.callbacks import Callback\n" + code.replace("Own:", "Own(Callback):")
    )
    (callback,) = build_callbacks(config.train.callbacks, "train.dns.s0")
    assert vars(callback) == {"said": ("train.dns.s0", 2)}
    with pytest.raises(ConfigError, match=r"no installed package gives 'often' in the group hnlm_ray\.callbacks"):
        load_config([], ["train.callbacks=[often]"])


def test_callbacks_are_no_part_of_what_a_run_is() -> None:
    assert not is_decisive(("train", "callbacks"))
    assert is_decisive(("train", "seeds"))
