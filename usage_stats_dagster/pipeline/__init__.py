"""The stages of a site's day, one module each, without Dagster: what the assets, the sensor and the command line call."""
