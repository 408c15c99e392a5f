"""Training: two fits, the first with held-out rows, and what they share."""
