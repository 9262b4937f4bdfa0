"""Documents where they can be asked for: one interface, the embedded index behind it."""
