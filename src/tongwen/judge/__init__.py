"""What judges an answer: sandbox, equality, instructions, benchmark files.  No torch."""
