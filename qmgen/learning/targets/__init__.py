"""Targets: what a network learns from a corpus, and in which units it sees them."""

from qmgen.learning.targets.target import TARGETS, Kind, Target, targets_of

__all__ = ["TARGETS", "Kind", "Target", "targets_of"]
