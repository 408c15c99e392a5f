"""Dissimilarities between rows, dense or sparse."""
