"""Tests of what goes over HTTP to and from a Matomo, against a server that behaves as one."""
