"""No address of a visitor is left behind."""
