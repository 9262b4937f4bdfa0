"""The ledger: which logs were imported how far, and how far each site's day has come. It says what was done; the lake says what is."""
