"""What `moto doctor` looks at, one file a subject; every check returns findings and raises nothing."""
