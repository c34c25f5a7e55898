"""A local model behind the OpenAI interface: what `evalkit serve` runs."""
