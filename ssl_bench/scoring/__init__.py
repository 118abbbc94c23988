"""Measuring networks: predictions, metrics per case, and scores of a run's networks."""
