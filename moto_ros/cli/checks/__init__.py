"""Checks of `moto doctor`, one file per subject; every check returns findings and raises nothing."""
