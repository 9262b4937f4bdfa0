"""Typed Dagster resources: each opens something outside this process and hands over a plain object of the domain."""
