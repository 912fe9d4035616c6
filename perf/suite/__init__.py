"""The measurements of `perf/run`: targets, scenarios, rounds, the table, the goals."""
