"""Many requests from a file, answered one after the other and many at once."""
