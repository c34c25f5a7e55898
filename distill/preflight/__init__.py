"""What can be known of a training run before its first step. `distill preflight` shows it, `distill train` heeds it.

findings    what a check says: ok, warning or refusal, with its meaning and what to do
subject     what is looked over: recipe, rows, planned batches, the trainer
files, settings, rows, mask, vocabulary, memory, disk, terms, pace, leakage    the checks, a family each
course      their order, for the command and for training
page        the readable page
"""

from distill.preflight.course import before_loading, before_training, look_over
from distill.preflight.findings import Finding, Report, Standing

__all__ = ["Finding", "Report", "Standing", "before_loading", "before_training", "look_over"]
