"""The Dagster layer: assets, checks, sensor, schedule, jobs. Thin: what needs a test of its own lives below it."""
