"""Asking models: in this process, on our server, or on anyone's OpenAI-compatible endpoint."""
