"""What a run needs to survive: its settings, its folder, checkpoints, locks, signals, command lines."""

from tinybvae.runs.checkpoint import Run, load, load_model, save
from tinybvae.runs.training import train

__all__ = ["Run", "load", "load_model", "save", "train"]
