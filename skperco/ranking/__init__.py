"""Percentile ranks, exact and soft, and the sorts that they need."""
