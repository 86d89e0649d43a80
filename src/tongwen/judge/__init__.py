"""Judges what a model wrote: programs run in isolation, answers compared.  No torch."""
