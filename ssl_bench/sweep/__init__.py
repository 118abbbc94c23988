"""Sweeps over hyperparameters and protocol fields with Optuna: each trial is one or several ordinary runs."""
