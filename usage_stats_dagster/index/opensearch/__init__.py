"""The index in OpenSearch 2 or 3: a site-day replaced as a whole, questions as aggregations."""
