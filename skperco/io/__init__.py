"""Fitted distillers in files, as PyTorch modules and in ONNX."""
