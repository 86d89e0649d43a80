"""Weights in and out of disk, and the store that keeps models under their names."""
