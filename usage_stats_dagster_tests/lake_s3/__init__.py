"""Tests of the lake in a bucket, against a real S3 server."""
