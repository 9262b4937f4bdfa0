"""What is compiled where a C compiler was at hand when the package was installed; everything works without it, slower."""
