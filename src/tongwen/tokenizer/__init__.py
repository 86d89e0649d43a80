"""Text to token ids and back, and conversations to token ids and a loss mask. No torch."""
