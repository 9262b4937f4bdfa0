"""The page about the stored tables, made from the schemas: `python -m usage_stats_dagster.tables_page > docs/tables.md`.

What belongs here: the page. What does not: the tables (`schemas.py`). A test holds the page to the schemas.
"""

from usage_stats_dagster.schemas import TABLES

_HEAD = """# The stored tables

Made from `usage_stats_dagster/schemas.py`; `python -m usage_stats_dagster.tables_page > docs/tables.md` makes it again.

Parquet (zstd) in hive folders under `storage.root`: `{table}/idsite=1/year=2025/month=3/day=1/part-0.parquet`, and beside
it `_manifest.json`: rows, content hash, what it was made of, counts by step, rules version. Hits have one file a log:
`{log identity}.parquet`. Names are Matomo's; times are UTC; the day is the day in `platform.time_zone`. `idsite` and `day`
stand in the files too: read with hive columns off where you want them as they are stored.

```python
pl.read_parquet("data/lake/metrics/idsite=1/**/*.parquet", hive_partitioning=False)
```
"""


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for table in TABLES.values():
        rows = "\n".join(f"| `{c}` | {t} | {table.docs[c]} |" for c, t in table.schema.items())
        parts.append(
            f"\n## {table.name}\n\n{table.grain[0].upper()}{table.grain[1:]}.\n\n| column | type | |\n|---|---|---|\n{rows}\n"
        )
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
