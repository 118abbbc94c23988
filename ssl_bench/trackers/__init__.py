"""Experiment trackers: each run's curves, scores, settings and pictures in TensorBoard, MLflow, W&B or CSV files."""

from ssl_bench.trackers.contract import Picture, TrackedRun, Tracker, register_tracker
from ssl_bench.training.observer import Point, Stop

__all__ = ["Picture", "Point", "Stop", "TrackedRun", "Tracker", "register_tracker"]
