"""Where a world's lake and index lie: in its folder, in a bucket, in OpenSearch; read, kept and put back as wholes.

What belongs here: what the services hold, without the pipeline's own code where the stored bytes are meant. What does not:
worlds, runs, points.

The settings come from the environment, as they may for users: a worker's decides for all that it does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import boto3
import xxhash

from usage_stats_dagster.index.opensearch.index import OpenSearchIndex
from usage_stats_dagster.lake import s3 as lake_s3
from usage_stats_dagster.lake import s3_upload
from usage_stats_dagster.settings import IndexSection
from usage_stats_dagster_tests.crash.states import LAKE, State, documents_of, state_of
from usage_stats_dagster_tests.crash.worlds import INDEX
from usage_stats_dagster_tests.opensearch_server import call
from usage_stats_dagster_tests.s3_proxy import Request, proxy_to
from usage_stats_dagster_tests.s3_server import S3Server

ROOT, ENDPOINT = "USAGE_STATS_STORAGE__ROOT", "USAGE_STATS_STORAGE__ENDPOINT"
URL, PREFIX = "USAGE_STATS_INDEX__URL", "USAGE_STATS_INDEX__PREFIX"

ONE_PUT = 3500
"""Bytes beyond which a file goes up in parts here: some of a world's tables do, and some don't."""

LEASE_SECONDS = 30
"""So long that a busy machine loses none; of a dead process it has run out when a world is put back, or time passes."""
_LAKE, _LEASE = "lake/", "_writer.json"
_OF_OPENSEARCH = re.compile(r"/_(bulk|aliases|refresh)\b")
_ANY_PREFIX = "{prefix}"


def replace_tree(source: Path, target: Path) -> None:
    """Makes the target a copy of the source."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def in_services(s3: S3Server | None, opensearch: str | None) -> dict[str, str]:
    """The environment of a place of its own on the servers: a new bucket, indices of a new prefix."""
    found: dict[str, str] = {}
    if s3 is not None:
        found |= s3.environment
        found |= {ROOT: f"s3://{s3.bucket()}/{_LAKE[:-1]}", ENDPOINT: s3.endpoint}
        found |= {"USAGE_STATS_STORAGE__LEASE_SECONDS": str(LEASE_SECONDS)}
    if opensearch is not None:
        found |= {"USAGE_STATS_INDEX__KIND": "opensearch", URL: opensearch, PREFIX: f"t{secrets.token_hex(5)}"}
        found |= {"USAGE_STATS_INDEX__REPLICAS": "0"}
    return found


@dataclass
class Bucket:
    """A lake in a bucket, by keys below its root: (body, metadata)."""

    server: S3Server
    name: str
    _known: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)

    @cached_property
    def _client(self) -> Any:
        return self.server.client()

    def objects(self) -> dict[str, tuple[bytes, dict[str, str]]]:
        """Every object. An ETag is of the content, so that what was read once is not read again."""
        found = {}
        for listed in self._client.list_objects_v2(Bucket=self.name, Prefix=_LAKE).get("Contents", []):
            key, known = listed["Key"], f"{listed['Key']} {listed['ETag']}"
            if known not in self._known:
                got = self._client.get_object(Bucket=self.name, Key=key)
                self._known[known] = (got["Body"].read(), got["Metadata"])
            found[key.removeprefix(_LAKE)] = self._known[known]
        return found

    def kept(self) -> dict[str, Any]:
        """All of it, as JSON takes it; a lease without what changes by the moment."""
        objects = {}
        for key, (body, metadata) in self.objects().items():
            kept = (
                body if key != _LEASE else json.dumps({"holder": "killed", "free": json.loads(body)["free"]}).encode()
            )
            objects[key] = [base64.b64encode(kept).decode(), metadata]
        return {"objects": objects, "uploads": self._uploads()}

    def _uploads(self) -> list[str]:
        return sorted(u["Key"] for u in self._client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))

    def put_back(self, kept: Mapping[str, Any]) -> None:
        """Makes the bucket what was kept, at a time when its lease has run out."""
        client = self._client
        for upload in client.list_multipart_uploads(Bucket=self.name).get("Uploads", []):
            client.abort_multipart_upload(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"])
        there = self.objects()
        for key in there.keys() - kept["objects"].keys():
            client.delete_object(Bucket=self.name, Key=_LAKE + key)
        for key, (text, metadata) in kept["objects"].items():
            body = base64.b64decode(text)
            if there.get(key) != (body, metadata):
                client.put_object(Bucket=self.name, Key=_LAKE + key, Body=body, Metadata=metadata)
        for key in kept["uploads"]:
            client.create_multipart_upload(Bucket=self.name, Key=key)
        self.time_passes()

    def time_passes(self) -> None:
        """The lease of a dead process runs out."""
        try:
            lease = json.loads(self._client.get_object(Bucket=self.name, Key=_LAKE + _LEASE)["Body"].read())
        except self._client.exceptions.NoSuchKey:
            return
        self._client.put_object(
            Bucket=self.name, Key=_LAKE + _LEASE, Body=json.dumps({**lease, "seconds": -1}).encode()
        )

    def into(self, state: State) -> None:
        """Adds what the bucket holds to the state."""
        for key, (body, _) in self.objects().items():
            if key == _LEASE:
                state.others.append(f"the lake's lease, {'free' if json.loads(body)['free'] else 'held'}")
            else:
                state.lake[key] = xxhash.xxh3_128_hexdigest(body)
        state.leftovers += [f"unfinished upload of {key}" for key in self._uploads()]


@dataclass
class Indices:
    """The indices of a platform in OpenSearch."""

    url: str
    prefix: str

    def _all(self) -> dict[str, Any]:
        found: dict[str, Any] = call(self.url, "GET", f"/{self.prefix}.*")
        return found

    def kept(self) -> list[dict[str, Any]]:
        """Every index: what it is and the documents in it, searchable yet or not. The platform's template counts as one."""
        indices = self._all()
        kept = [{"name": "", "body": t["index_template"], "documents": []} for t in self._templates()]
        documents: dict[str, list[list[Any]]] = {name: [] for name in indices}
        if indices:
            call(self.url, "POST", f"/{self.prefix}.*/_refresh")
            found = call(self.url, "POST", f"/{self.prefix}.*/_search", {"size": 10_000})
            for hit in found["hits"]["hits"]:
                documents[hit["_index"]].append([hit["_id"], _of_no_moment(hit["_source"])])
        for name, index in sorted(indices.items()):
            settings = {k: index["settings"]["index"][k] for k in ("number_of_shards", "number_of_replicas")}
            body = {"settings": {"index": settings}, "mappings": index["mappings"], "aliases": index["aliases"]}
            kept.append({"name": name, "body": body, "documents": sorted(documents[name], key=lambda d: d[0])})
        again: list[dict[str, Any]] = json.loads(json.dumps(kept).replace(self.prefix, _ANY_PREFIX))
        return again

    def _templates(self) -> list[dict[str, Any]]:
        every = call(self.url, "GET", "/_index_template")["index_templates"]
        return [t for t in every if t["name"].startswith(f"{self.prefix}.")]

    def put_back(self, kept: list[dict[str, Any]]) -> None:
        """Makes the indices what was kept, of a process that is gone."""
        if there := ",".join(self._all()):
            call(self.url, "DELETE", f"/{there}")
        for template in self._templates():
            call(self.url, "DELETE", f"/_index_template/{template['name']}")
        lines: list[str] = []
        for index in json.loads(json.dumps(kept).replace(_ANY_PREFIX, self.prefix)):
            if not index["name"]:
                call(self.url, "PUT", f"/_index_template/{self.prefix}.documents", index["body"])
                continue
            call(self.url, "PUT", f"/{index['name']}", index["body"])
            for ident, source in index["documents"]:
                if "token" in source:
                    source["process"] = os.getpid()
                lines += [json.dumps({"index": {"_index": index["name"], "_id": ident}}), json.dumps(source)]
        if lines:
            answer = call(self.url, "POST", "/_bulk?refresh=true", "".join(f"{x}\n" for x in lines))
            assert not answer["errors"], answer

    def into(self, state: State) -> None:
        """Adds to the state the documents that readers see, and what they don't: records, leases, indices behind no alias."""
        options = IndexSection(kind="opensearch", url=self.url, prefix=self.prefix, replicas=0)
        with OpenSearchIndex(options, write=False) as index:
            state.index = documents_of(index)
        for stored in self.kept():
            name, of = stored["name"], stored["body"]
            if not name:
                continue
            kind = "staged" if name.endswith("-staged") else name.partition("-2")[0]
            if name == f"{_ANY_PREFIX}.state":
                rows = []
                for ident, source in stored["documents"]:
                    if ident.startswith("lease-"):
                        state.leftovers.append(f"{ident} in OpenSearch")
                    else:
                        rows.append(str({k: v for k, v in source.items() if k != "index"}))
                state.ledger["OpenSearch's records"] = sorted(rows)
            elif not of["aliases"] and "retired" not in of["mappings"].get("_meta", {}):
                state.leftovers.append(f"an index that nobody sees: {kind}")
            elif of["aliases"] and (kind == "staged" or any(a for a in of["aliases"].values())):
                state.leftovers.append(f"an alias that shows no whole index: {kind}")


def _of_no_moment(source: dict[str, Any]) -> dict[str, Any]:
    """A lease is that of a dead process: when it is put back, of the process that does it, by a token that it does not know."""
    if "token" not in source:
        return source
    return {**source, "process": 0, "token": "of a dead process", "since": "2025-01-01T00:00:00+00:00"}


@dataclass
class Place:
    """All that a world leaves: its folder, and what lies elsewhere."""

    bucket: Bucket | None = None
    indices: Indices | None = None

    @classmethod
    def here(cls) -> Place:
        """The place that this process's environment names."""
        e = os.environ
        bucket = indices = None
        if root := e.get(ROOT):
            server = S3Server(e[ENDPOINT], e["AWS_ACCESS_KEY_ID"], e["AWS_SECRET_ACCESS_KEY"])
            bucket = Bucket(server, root.removeprefix("s3://").partition("/")[0])
            s3_upload.ONE_PUT = ONE_PUT
            boto3.session.Session = lru_cache(
                boto3.session.Session
            )  # reads its description of S3 once, not for each client
        if url := e.get(URL):
            indices = Indices(url, e[PREFIX])
        return cls(bucket, indices)

    @property
    def is_elsewhere(self) -> bool:
        """Whether anything of a world lies outside its folder."""
        return self.bucket is not None or self.indices is not None

    def state(self, folder: Path) -> State:
        """What a reader finds, and what else lies there."""
        state = state_of(folder)
        if self.bucket is not None:
            self.bucket.into(state)
        if self.indices is not None:
            self.indices.into(state)
        return state

    def elsewhere(self) -> bytes:
        """What the services hold."""
        kept = {
            "bucket": self.bucket.kept() if self.bucket else None,
            "indices": self.indices.kept() if self.indices else None,
        }
        return json.dumps(kept).encode()

    def keep(self, folder: Path, copy: Path, elsewhere: bytes | None = None) -> None:
        """Copies the world in the folder; what lies elsewhere beside it."""
        replace_tree(folder, copy)
        beside(copy).write_bytes(self.elsewhere() if elsewhere is None else elsewhere)

    def put_back(self, copy: Path, folder: Path) -> None:
        """Makes the folder, and what lies elsewhere, what was kept."""
        replace_tree(copy, folder)
        kept = json.loads(beside(copy).read_bytes())
        if self.bucket is not None:
            self.bucket.put_back(kept["bucket"])
        if self.indices is not None:
            self.indices.put_back(kept["indices"])

    def clear(self, folder: Path) -> None:
        """An empty world."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if self.bucket is not None:
            self.bucket.put_back({"objects": {}, "uploads": []})
        if self.indices is not None:
            self.indices.put_back([])

    def lose(self, folder: Path, what: str) -> None:
        """A table of the lake is gone, or the index."""
        if what == INDEX and self.indices is not None:
            self.indices.put_back([])
        elif what == INDEX:
            for path in (folder / "data").glob("index.db*"):
                path.unlink()
        elif self.bucket is not None:
            kept = self.bucket.kept()
            left = {k: v for k, v in kept["objects"].items() if not k.startswith(f"{what}/")}
            self.bucket.put_back({**kept, "objects": left})
        else:
            shutil.rmtree(folder / LAKE / what)

    def time_passes(self) -> None:
        """As long as a dead process's lease lasts."""
        if self.bucket is not None:
            self.bucket.time_passes()

    @contextmanager
    def watched(self, told: Any) -> Iterator[None]:
        """Requests that change something are told of, by (what, key or path), before the server gets them."""
        kept = dict(os.environ)
        try:
            with _proxied(ENDPOINT, self.bucket, told, _of_s3), _proxied(URL, self.indices, told, _of_index):
                yield
        finally:
            os.environ.update(kept)


def beside(copy: Path) -> Path:
    """The file with what services hold."""
    return copy.with_name(f"{copy.name}.services")


@contextmanager
def _proxied(variable: str, service: object, told: Any, changes: Any) -> Iterator[None]:
    if service is None:
        yield
        return
    with proxy_to(os.environ[variable]) as proxy:

        def plan(request: Request) -> None:
            if what := changes(request):
                told(what, request.path.partition("?")[0])

        proxy.plan = plan
        os.environ[variable] = proxy.endpoint
        yield


def _of_s3(request: Request) -> str | None:
    return request.kind if request.method in ("PUT", "POST", "DELETE") else None


def _of_index(request: Request) -> str | None:
    found = _OF_OPENSEARCH.search(request.path)
    if found or request.method in ("PUT", "DELETE"):
        return f"{request.method} {found[1] if found else ''}".strip()
    return None


def as_in_a_new_process() -> None:
    """Forgets what a process knows of its lake: connections, copies, that it has looked for leftovers."""
    lake_s3._opened.cache_clear()
