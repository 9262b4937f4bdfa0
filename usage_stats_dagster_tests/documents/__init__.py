"""Tests of documents and their contract."""
