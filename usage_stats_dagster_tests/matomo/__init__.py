"""A real Matomo's database as the source."""
