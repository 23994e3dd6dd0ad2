"""First embeddings: normal, and the same row on any shard."""

from __future__ import annotations

import torch
from scipy import stats

from hnlm_ray.models.embeddings import initial_rows


def test_a_row_does_not_depend_on_the_block_it_is_made_in() -> None:
    whole = initial_rows(3, "users", 0, 50, 8, 0.1)
    assert torch.equal(whole[20:35], initial_rows(3, "users", 20, 35, 8, 0.1))
    assert initial_rows(3, "users", 7, 7, 8, 0.1).shape == (0, 8)


def test_values_are_normal_and_differ_by_table_and_seed() -> None:
    users = initial_rows(0, "users", 0, 500, 16, 0.1)
    assert stats.kstest(users.double().numpy().ravel() / 0.1, "norm").pvalue > 1e-3
    assert not torch.equal(users, initial_rows(0, "items", 0, 500, 16, 0.1))
    assert not torch.equal(users, initial_rows(1, "users", 0, 500, 16, 0.1))
