"""Metrics to documents: identifiers mapped, periods summed, countries nested, the index's contract kept."""
