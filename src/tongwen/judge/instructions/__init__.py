"""IFEval's verifiable instructions: whether a completion did what its prompt asked."""
