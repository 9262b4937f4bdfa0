"""OpenSearch: who we say we are, whom we trust, and what a wrong setting says."""

import base64
import ssl
import subprocess

import pytest

from usage_stats_dagster.index.interface import DocumentIndexError
from usage_stats_dagster.index.opensearch.http import PASSWORD_VARIABLE, USER_VARIABLE
from usage_stats_dagster.index.opensearch.index import OpenSearchIndex
from usage_stats_dagster.settings import SettingsError, load_settings
from usage_stats_dagster_tests.index.proxy import proxy
from usage_stats_dagster_tests.opensearch_server import section


@pytest.mark.services
def test_requests_are_signed_for_aws(opensearch, monkeypatch):
    for name, value in (
        ("ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ("SESSION_TOKEN", "t0ken"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    with proxy(opensearch) as between, OpenSearchIndex(section(between.url, aws_region="sa-east-1")) as index:
        index.totals()
        _, _, headers = between.seen[-1]
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/sa-east-1/es/aws4_request" in headers["Authorization"]
    assert "Signature=" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "t0ken"
    assert len(headers["X-Amz-Content-SHA256"]) == 64


@pytest.mark.services
def test_user_and_password_come_from_the_environment(opensearch, monkeypatch):
    monkeypatch.setenv(USER_VARIABLE, "reader")
    with pytest.raises(DocumentIndexError, match="go together"):
        OpenSearchIndex(section(opensearch))
    monkeypatch.setenv(PASSWORD_VARIABLE, "s3cret")
    with proxy(opensearch) as between, OpenSearchIndex(section(between.url)) as index:
        index.totals()
        _, _, headers = between.seen[-1]
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"reader:s3cret"


@pytest.mark.services
def test_a_certificate_is_checked(opensearch, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate,
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with proxy(opensearch, tls=context) as between:
        with OpenSearchIndex(section(between.url)) as index, pytest.raises(DocumentIndexError, match=r"index\.ca"):
            index.totals()
        for trusted in ({"ca": str(certificate)}, {"verify": False}):
            with OpenSearchIndex(section(between.url, **trusted)) as index:
                assert index.totals()["documents"].item() == 0


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"kind": "opensearch"}, "needs the server's address"),
        ({"kind": "opensearch", "url": "https://me:secret@search.example.org"}, "USAGE_STATS_OPENSEARCH_PASSWORD"),
        ({"prefix": "Usage Stats"}, "lower case letters"),
        ({"ca": "/nowhere.pem"}, "is no file"),
    ],
)
def test_wrong_settings_say_what_is_wanted(index, says):
    with pytest.raises(SettingsError, match=says):
        load_settings(index=index)
