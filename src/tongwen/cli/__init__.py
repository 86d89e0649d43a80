"""One file per verb; each composes what the rooms offer."""
