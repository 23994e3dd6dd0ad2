"""Tuning of the encoder of hard negatives: material, loop, optimizer engines and checkpoints, without Ray."""
