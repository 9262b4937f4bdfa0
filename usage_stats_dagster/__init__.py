"""Exact usage statistics for repositories and journals, as Dagster assets. Only the version lives here."""

__version__ = "0.1.0"
