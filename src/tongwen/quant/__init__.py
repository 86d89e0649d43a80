"""Arithmetic of fewer bits: how quantized values are stored and what they stand for."""
