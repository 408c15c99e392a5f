"""Checks, chunks of rows, optional packages and other helpers."""
