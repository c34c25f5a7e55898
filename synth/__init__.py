"""Asks a teacher for coding tasks, proves each by running it, and keeps the good ones with their evidence."""
