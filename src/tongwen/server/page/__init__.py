"""The web chat: one static page that asks this server and nobody else."""
