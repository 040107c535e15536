"""Which processes make which system, their parameters, and how they start: launch files and the command line."""
