"""Tests of the look-ups, against the lists themselves and against what Matomo said."""
