"""Codes of a few bytes for each row, which keep the ranking of dissimilarities."""
