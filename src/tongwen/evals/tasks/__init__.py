"""One benchmark a file: how it asks, how it reads the answer, what it scores."""
