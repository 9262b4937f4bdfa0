"""Measurements that print ratios of one run on one machine; see README.md."""
