"""Tests of the sample maker."""
