"""Data, methods, losses, evaluation and reports that several benchmarks share."""
