"""How well latents match factors: mutual information, what factors explain, names, five scores of disentanglement.

There are N samples, D latents and K factors. codes (N, D) are posterior means, classes (N, K) the true factors;
information is in nats. `counted` says which factors are counted, and `notes` what is left out and why.
"""

from tinybvae.metrics.samples import NINE, constant_factors, encode_samples, factors_of, losses, units_off
from tinybvae.metrics.information import (CLEAR, UNUSED, entropy, explained, known_shares,
                                          mutual_information, mutual_information_gap, name_latents, needed)
from tinybvae.metrics.counting import FEWEST, ONE_FACTOR, PER_CLASS, RARE, counted, notes
from tinybvae.metrics.disentanglement import (NAMES, beta_vae_score, dci, evaluate, factor_vae_score, scores,
                                              separated_predictability)

__all__ = [
    "NINE", "constant_factors", "encode_samples", "factors_of", "losses", "units_off",
    "CLEAR", "UNUSED", "entropy", "explained", "known_shares", "mutual_information", "mutual_information_gap",
    "name_latents", "needed",
    "FEWEST", "ONE_FACTOR", "PER_CLASS", "RARE", "counted", "notes",
    "NAMES", "beta_vae_score", "dci", "evaluate", "factor_vae_score", "scores", "separated_predictability",
]
