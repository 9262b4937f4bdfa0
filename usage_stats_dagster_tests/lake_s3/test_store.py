"""The lake's operations in a bucket, and what it says when a bucket can't be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from usage_stats_dagster.lake import s3_copies, s3_upload
from usage_stats_dagster.lake.store import Lake, LakeError
from usage_stats_dagster.schemas import METRICS_TABLE
from usage_stats_dagster_tests.lake_s3.lakes import DAY, LOCK, PART, Bucket, commit, rows, write
from usage_stats_dagster_tests.s3_proxy import Proxy

pytestmark = pytest.mark.services


def test_rows_come_back_and_the_manifest_says_what_they_are(bucket: Bucket) -> None:
    lake = bucket.lake()
    lake.ready()
    made = commit(lake, rows(3))
    other = bucket.lake(connections=2)  # a storage of its own: no copy of what was written
    assert other.scan(METRICS_TABLE, [(1, DAY), (2, DAY)]).collect().equals(rows(3))
    assert other.manifest(METRICS_TABLE, 1, DAY) == made
    assert other.content_hash(other.part(METRICS_TABLE, 1, DAY)) == made.content_hash
    assert list(other.days(METRICS_TABLE, 1)) == other.days_of_month(METRICS_TABLE, 1, DAY) == [DAY]
    assert str(lake.part(METRICS_TABLE, 1, DAY)) == f"s3://{bucket.name}/{PART}"


def test_a_scan_keeps_the_rows_that_it_was_made_of(bucket: Bucket) -> None:
    lake = bucket.lake()
    commit(lake, rows(5))
    before = lake.scan(METRICS_TABLE, [(1, DAY)])
    commit(lake, rows(3, seed=2))
    assert before.collect().equals(rows(5))
    assert lake.scan(METRICS_TABLE, [(1, DAY)]).collect().equals(rows(3, seed=2))


def test_stale_files_go_and_a_day_can_be_removed(bucket: Bucket) -> None:
    lake = bucket.lake()
    with lake.writing(LOCK):
        lake.put_bytes(lake.folder(METRICS_TABLE, 1, DAY) / "part-1.parquet", b"old")
        write(lake, rows(3))
        assert set(bucket.objects()) == {
            "_writer.json", PART.removeprefix("lake/"), PART.removeprefix("lake/").replace("part-0.parquet", "_manifest.json"),
        }  # fmt: skip
        assert lake.remove(METRICS_TABLE, 1, DAY)
        assert not lake.remove(METRICS_TABLE, 1, DAY)
    assert not lake.part(METRICS_TABLE, 1, DAY).exists()
    assert lake.scan(METRICS_TABLE, [(1, DAY)]).collect().is_empty()


def test_a_manifest_that_does_not_fit_its_file_is_none(bucket: Bucket) -> None:
    """Even of the same size: a part of another writer is told by the hash beside it."""
    lake = bucket.lake()
    commit(lake, rows(3))
    client = bucket.server.client()
    data = client.get_object(Bucket=bucket.name, Key=PART)["Body"].read()
    client.put_object(Bucket=bucket.name, Key=PART, Body=data, Metadata={s3_upload.HASH: "other"})
    assert lake.manifest(METRICS_TABLE, 1, DAY) is None


def test_large_files_go_up_and_come_down_in_parts(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, proxy: Proxy
) -> None:
    monkeypatch.setattr(s3_upload, "ONE_PUT", 10 << 20)
    frame = rows(300_000)
    made = commit(bucket.lake(), frame)
    assert made.size > 16 << 20
    kinds = [r.kind for r in proxy.seen]
    assert kinds.count("PUT uploadId") == -(-made.size // s3_upload.PART)
    proxy.forget()
    other = bucket.lake(connections=2)
    assert other.scan(METRICS_TABLE, [(1, DAY)]).collect().equals(frame)
    assert len(proxy.seen) == -(-made.size // s3_copies.CHUNK)
    with other.split([other.part(METRICS_TABLE, 1, DAY)], METRICS_TABLE, "views", [k << 58 for k in range(5)]) as parts:
        assert sum(p.collect().height for p in parts) == frame.height
    assert proxy.most_open <= 8 + 1 + 2 + 1  # connections of both storages, and one each for the lease


def test_nothing_is_written_without_the_lease(bucket: Bucket) -> None:
    lake = bucket.lake()
    with pytest.raises(LakeError, match="nothing may be written without the writer's lease"):
        write(lake, rows(1))
    assert not bucket.objects()


def test_a_writer_whose_file_was_replaced_meanwhile_leaves_it(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stood still between its last look and its write, longer than its lease: the condition of the write stops it."""
    lake = bucket.lake()
    commit(lake, rows(3))
    put = s3_upload.Uploads.put

    def stand_still(self: s3_upload.Uploads, key: str, path: Path, content_hash: str) -> str:
        def other_writes() -> None:
            bucket.server.client().put_object(Bucket=bucket.name, Key=key, Body=b"the successor's")

        monkeypatch.setattr(self, "_allowed", other_writes)
        return put(self, key, path, content_hash)

    with monkeypatch.context() as m:
        m.setattr(s3_upload.Uploads, "put", stand_still)
        with pytest.raises(LakeError, match="changed while this run was about to replace it"):
            commit(lake, rows(4))
    assert bucket.objects()[PART.removeprefix("lake/")] == b"the successor's"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"root": "s3://no-such-bucket-here/x"}, "refused to list objects (404 NoSuchBucket .*make the bucket 'no-such-bucket-here'"),
        ({"root": "s3://UPPER/x"}, "use 's3://bucket/prefix'"),
        ({"endpoint": "http://127.0.0.1:9"}, "failed 6 times to list objects.*storage.endpoint"),
    ],
)  # fmt: skip
def test_errors_say_where_and_the_way_out(bucket: Bucket, change: dict[str, str], says: str) -> None:
    with pytest.raises(LakeError, match=says.replace("(404", r"\(404")):
        bucket.lake(**change).ready()


def test_wrong_and_missing_credentials_are_told_from_each_other(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(LakeError, match=r"403 SignatureDoesNotMatch.*the credentials .* need s3:GetObject") as e:
        bucket.lake(connections=3).ready()
    assert "wrong" not in re.sub(r"\(403.*\)", "", str(e.value))
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(LakeError, match=r"no credentials for S3.*never stand in the settings"):
        bucket.lake(connections=4).ready()


def test_other_addresses_are_no_lake() -> None:
    with pytest.raises(LakeError, match="use a folder such as 'data/lake', or 's3://bucket/prefix'"):
        Lake("gs://bucket/prefix")
