"""The S3 client as a Dagster resource, for assets of one's own beside the lake.

What belongs here: dagster-aws, imported only where the lake is on S3 (it costs two seconds). What does not: the lake's own
client, which `lake/` has without Dagster.
"""

from typing import Any

from usage_stats_dagster.settings import current_settings


def s3_resources() -> dict[str, Any]:
    """`s3`, on the server of `[storage]`, where `storage.root` is a bucket; nothing otherwise."""
    storage = current_settings().storage
    if not storage.root.startswith("s3://"):
        return {}
    from dagster_aws.s3 import S3Resource  # noqa: PLC0415

    return {"s3": S3Resource(endpoint_url=storage.endpoint, region_name=storage.region, max_attempts=12)}
