"""One module per subcommand; each parses nothing and prints little: it does the job and returns the facts."""
