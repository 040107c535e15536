"""Benchmarks: suites of runs, their processes, results, tables and figures. No simulator is imported here."""
