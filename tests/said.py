"""What a stage says while a test runs it."""

from __future__ import annotations


class Said(list[str]):
    """Takes sentences and how far work is, and keeps them as the lines that a log would have."""

    def __call__(self, said: object) -> None:
        self.append(str(said))
