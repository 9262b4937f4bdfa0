"""Events and visits of a site's day to metrics: named steps, double clicks, two vocabularies of figures."""
