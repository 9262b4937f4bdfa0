"""Tests of the steps, double clicks and figures."""
