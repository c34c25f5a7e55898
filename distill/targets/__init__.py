"""What is kept of a teacher: which losses it allows, how it is drawn, how it is stored, where it comes from."""
