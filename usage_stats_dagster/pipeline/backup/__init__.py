"""Everything that a platform is, in one archive, and back."""
