"""What runs inside a jail: standard library only, so that a fresh interpreter starts in milliseconds."""
