"""Made-up but believable access logs, so that the product can be tried and measured with no logs of one's own."""
