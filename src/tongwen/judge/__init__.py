"""What is right and what is not: answers, instructions, programs, and the files that ask."""
