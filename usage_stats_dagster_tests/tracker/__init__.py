"""Tests of the embedded tracker."""
