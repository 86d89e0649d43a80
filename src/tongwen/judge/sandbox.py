"""Where programs that a model wrote are run."""


class Sandbox:
    """Runs programs apart from everything else."""

    @property
    def kind(self) -> str:
        """What keeps them apart."""
        return "none"
