"""What fidelity.py compares: data, methods, the losses people use, and the report."""
