"""Putting a file at its key in one step: one PUT, or an upload in parts that comes into being when it is completed.

What belongs here: both ways, the condition on what stood there before, unfinished uploads. What does not: who may write
(`s3_lease.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from usage_stats_dagster.lake.s3_client import Answer, Bucket, MissingError, RefusedError
from usage_stats_dagster.lake.storage import LakeError

HASH = "xxh3-128"
"""The name, among the object's metadata, of the hash of its content."""

ONE_PUT = 32 << 20
"""Bytes beyond which a file goes up in parts: a broken connection costs a part, not the whole."""

PART = 8 << 20


class Uploads:
    """Uploads to one bucket. `allowed` is asked right before a key changes."""

    def __init__(self, bucket: Bucket, pool: ThreadPoolExecutor, allowed: Callable[[], None]) -> None:
        self._bucket, self._pool, self._allowed = bucket, pool, allowed

    def put(self, key: str, path: Path, content_hash: str) -> str:
        """Replaces the object that stands there now; returns the new ETag.

        What stands there is read first, and only it is replaced: a writer that stood still after it was allowed to write
        can't undo what its successor has written since.
        """
        before = self._head(key)
        if before is not None and before["Metadata"].get(HASH) == content_hash:
            return str(before["ETag"])
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if before is None else {"IfMatch": before["ETag"]}
        metadata = {HASH: content_hash}
        try:
            if path.stat().st_size <= ONE_PUT:
                with path.open("rb") as f:
                    self._allowed()
                    return str(self._bucket.call("put_object", key, Body=f, Metadata=metadata, **condition)["ETag"])
            return self._in_parts(key, path, metadata, condition)
        except (RefusedError, MissingError) as e:
            now = self._head(key)
            if now is not None and now["Metadata"].get(HASH) == content_hash:
                return str(now["ETag"])  # an own try had arrived, and only its answer was lost
            msg = (
                f"{self._bucket.address(key)}: changed while this run was about to replace it: it is left as it is. "
                "Another run has taken over; run again"
            )
            raise LakeError(msg) from e

    def _in_parts(self, key: str, path: Path, metadata: dict[str, str], condition: dict[str, Any]) -> str:
        call = self._bucket.call
        upload = call("create_multipart_upload", key, Metadata=metadata)["UploadId"]
        fd = os.open(path, os.O_RDONLY)

        def part(number: int) -> dict[str, Any]:
            body = os.pread(fd, PART, (number - 1) * PART)
            return {
                "PartNumber": number,
                "ETag": call("upload_part", key, UploadId=upload, PartNumber=number, Body=body)["ETag"],
            }

        try:
            parts = list(self._pool.map(part, range(1, -(-path.stat().st_size // PART) + 1)))
            self._allowed()
            done = call(
                "complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": parts}, **condition
            )
            return str(done["ETag"])
        except BaseException:
            with suppress(LakeError, MissingError):
                call("abort_multipart_upload", key, UploadId=upload)
            raise
        finally:
            os.close(fd)

    def _head(self, key: str) -> Answer | None:
        try:
            found: Answer = self._bucket.call("head_object", key)
        except MissingError:
            return None
        return found

    def unfinished(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Key and id of uploads under the prefix that are not completed. Only keys of the lake's tables."""
        ours = re.compile(re.escape(prefix) + r"[a-z_]+/idsite=\d+/")
        more: dict[str, Any] = {}
        while True:
            found = self._bucket.call("list_multipart_uploads", Prefix=prefix, **more)
            yield from ((u["Key"], u["UploadId"]) for u in found.get("Uploads", []) if ours.match(u["Key"]))
            if not found.get("IsTruncated"):
                return
            more = {"KeyMarker": found["NextKeyMarker"], "UploadIdMarker": found["NextUploadIdMarker"]}

    def abort(self, prefix: str) -> None:
        """Ends the uploads that killed writers left unfinished: their parts would be paid for, and never seen."""
        for key, upload in list(self.unfinished(prefix)):
            with suppress(MissingError):
                self._bucket.call("abort_multipart_upload", key, UploadId=upload)
