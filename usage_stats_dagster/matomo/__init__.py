"""A real Matomo: reading its database or its API, sending hits to it. Imports no Dagster."""
