"""The accounting: from the lines read to the documents indexed, every sum closed."""

from usage_stats_dagster.pipeline.account.account import account
from usage_stats_dagster.pipeline.account.book import Account

__all__ = ["Account", "account"]
