"""Scores, their confidence intervals, and displays."""
