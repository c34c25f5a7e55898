"""Says what a code model can really do: problems, programs, verdicts, models, statistics."""
