"""Verdicts about values of a hit (agent a robot? which country? what referrer? which browser?): one package, one look-up a module."""
