"""The Gaussian ramp-up of the unsupervised loss's weight."""

import math


def gaussian_ramp_up(iteration: float, length: float) -> float:
    """exp(-5 (1 - t/t_m)^2) for t = iteration below t_m = length, 1 from there on (UCMT paper, below equation 2)."""
    remaining = max(0.0, 1.0 - iteration / length)
    return math.exp(-5.0 * remaining * remaining)
