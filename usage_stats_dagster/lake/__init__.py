"""The lake: where tables lie, how a site's day is replaced as a whole, and the manifest that says what it was made of."""
