"""Measuring a model: each benchmark a short file, each figure with a receipt."""
