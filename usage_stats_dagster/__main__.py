"""`python -m usage_stats_dagster`: the command line, where no script is installed."""

from usage_stats_dagster.cli.start import main

main()
