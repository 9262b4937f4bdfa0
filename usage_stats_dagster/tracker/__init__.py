"""Hits of a site's day to visits and events, by the rules that Matomo 5 applies."""
