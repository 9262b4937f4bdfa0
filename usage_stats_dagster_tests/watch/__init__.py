"""Tests of the same folder of the package."""
