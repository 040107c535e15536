"""Help for tests: real nodes, real middleware, real processes."""
