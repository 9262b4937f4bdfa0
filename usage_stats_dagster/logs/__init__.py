"""Log files to hits: finding them, telling them apart, reading them."""
