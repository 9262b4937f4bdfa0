"""Tests of the index of documents."""
