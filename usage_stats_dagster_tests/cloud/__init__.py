"""The whole graph on real services."""
