"""A run, and what it needs to survive: settings, its folder, checkpoints, locks, signals, command lines."""

from tinybvae.runs.checkpoint import load, load_model, save
from tinybvae.runs.run import Run
from tinybvae.runs.training import train

__all__ = ["Run", "load", "load_model", "save", "train"]
