"""Checks of `moto doctor`, one file a subject; every check returns findings and raises nothing."""
