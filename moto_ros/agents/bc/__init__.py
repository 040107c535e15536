"""Behaviour cloning, the baseline that a page of the documentation builds."""
