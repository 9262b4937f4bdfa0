"""SocialGouv's table of actions in PostgreSQL, filled from the lake."""
