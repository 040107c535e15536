"""What the papers' experiments are, who runs them, and their figures; the simulated worlds are looked up by name."""
