"""OpenAI's dialect, with vLLM's additions."""
