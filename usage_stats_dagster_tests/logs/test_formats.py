"""Each format on lines made from its public documentation, odd cases among them."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_stats_dagster.logs.formats import FORMATS, NAMES, named
from usage_stats_dagster.logs.formats.base import FIELDS
from usage_stats_dagster.logs.formats.json_values import values
from usage_stats_dagster.logs.formats.regex import IN_QUOTES, RegexFormat
from usage_stats_dagster.logs.lines import Lines
from usage_stats_dagster.logs.sniff import UnknownFormatError, detect


def parse(lines: list[str], log_format) -> list[dict]:
    """Fields of each line (time parsed), None for a line that did not match."""
    block = Lines.of(lines)
    records = log_format.records(block, log_format.next_state(None, block.codes.data))
    return [{f: r[f] for f in FIELDS} if r["matched"] else None for r in records.iter_rows(named=True)]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


T = at(2025, 3, 1, 10, 0, 0)
APACHE = "[01/Mar/2025:10:00:00 +0000]"

CASES = {
    "common": [
        (f'192.0.2.1 - - {APACHE} "GET /a HTTP/1.0" 200 2326', {"ip": "192.0.2.1", "path": "/a", "status": 200, "method": "GET", "time": T}),
        (f'2001:db8::1 - frank {APACHE} "HEAD /a b?c=d HTTP/1.1" 304 -', {"ip": "2001:db8::1", "path": "/a b?c=d", "method": "HEAD"}),
        ('192.0.2.1 - - [01/Mar/2025:05:00:00 -0500] "GET / HTTP/1.1" 200 5', {"time": T, "user_agent": None, "referrer": None}),
        (f'192.0.2.1 - john doe {APACHE} "GET /x HTTP/1.1" 200 5', {"ip": "192.0.2.1", "path": "/x"}),
        (f'192.0.2.1 - - {APACHE} "GET /no-protocol" 200 5', None),
        (f'192.0.2.1 - - {APACHE} "-" 408 -', None),
    ],
    "common_vhost": [
        (f'repo.example.org:443 192.0.2.1 - - {APACHE} "GET /a HTTP/1.1" 200 5', {"host": "repo.example.org", "ip": "192.0.2.1"}),
        (f'Repo.example.org 2001:db8::1 - - {APACHE} "GET /a HTTP/1.1" 200 5', {"host": "Repo.example.org", "ip": "2001:db8::1"}),
        (f'repo.example.org 192.0.2.1 - - {APACHE} "\\x16\\x03" 400 5', None),
    ],
    "ncsa_extended": [
        (f'192.0.2.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "https://example.org/?q=\\"x\\"" "A \\"b\\" c"', {"referrer": 'https://example.org/?q=\\"x\\"', "user_agent": 'A \\"b\\" c'}),
        (f'192.0.2.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "Reader "beta""', {"user_agent": 'Reader "beta"', "referrer": "-"}),
        (f'192.0.2.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "ends with a backslash \\"', {"user_agent": "ends with a backslash \\"}),
        (f'192.0.2.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "UA" 0.123 "-"', {"user_agent": "UA"}),
        (f'203.0.113.7, 10.0.0.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "UA"', {"ip": "203.0.113.7, 10.0.0.1"}),
        (f'10.0.0.1,203.0.113.7 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" ""', {"ip": "10.0.0.1,203.0.113.7", "user_agent": ""}),
        (f'192.0.2.1 - - {APACHE} "GET /say \\"hi\\" there HTTP/1.1" 200 5 "-" "UA"', {"path": '/say \\"hi\\" there'}),
        (f'192.0.2.1  -  -  {APACHE}  "GET  /a  HTTP/1.1"  200  5  "-"  "UA"', {"path": "/a", "status": 200, "time": T}),
        ('192.0.2.1 - - [2025-03-01T11:00:00+01:00] "GET /a HTTP/2" 200 5 "-" "UA"', {"time": T}),
        ('192.0.2.1 - - [31/Feb/2025:10:00:00 +0000] "GET /a HTTP/2" 200 5 "-" "UA"', {"time": None, "path": "/a"}),
        (f'192.0.2.1 - - {APACHE} "GET /cut HTTP/1.1" 200 5 "-" "UA without an en', None),
    ],
    "common_complete": [
        (f'repo.example.org:80 192.0.2.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "UA"', {"host": "repo.example.org", "ip": "192.0.2.1", "user_agent": "UA"}),
        (f'www.example.org 2001:db8::1 - jo {APACHE} "GET /a b HTTP/1.1" 200 5 "https://r.example/" "U \\"A\\""', {"host": "www.example.org", "path": "/a b", "user_agent": 'U \\"A\\"'}),
    ],
    "ncsa_extended_forwarded": [
        (f'10.0.0.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "UA" "203.0.113.7, 10.0.0.2"', {"ip": "203.0.113.7, 10.0.0.2", "user_agent": "UA"}),
        (f'198.51.100.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "UA" "-"', {"ip": "198.51.100.1"}),
        (f'198.51.100.1 - - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "U \\"A\\"" "2001:db8::1" rt=0.1', {"ip": "2001:db8::1", "user_agent": 'U \\"A\\"'}),
    ],
    "ovh": [(f'192.0.2.1 www.example.org - {APACHE} "GET /a HTTP/1.1" 200 5 "-" "UA"', {"host": "www.example.org", "ip": "192.0.2.1"})],
    "gandi": [
        (f'repo.example.org 192.0.2.1 - - {APACHE} (0 s) "GET /a HTTP/1.1" 200 5 "-" "UA"', {"host": "repo.example.org", "ip": "192.0.2.1", "path": "/a"}),
        (f'repo.example.org 2001:db8::1 - - {APACHE} (1.5 s) "GET /a b HTTP/1.1" 404 - "https://r.example/" "U A"', {"status": 404, "path": "/a b"}),
    ],
    "icecast2": [
        (f'192.0.2.1 - - {APACHE} "GET /stream.mp3 HTTP/1.0" 200 1024 "-" "Winamp 2" 153', {"user_agent": "Winamp 2", "path": "/stream.mp3"}),
        (f'192.0.2.1 - - {APACHE} "GET /stream.mp3 HTTP/1.0" 200 1024 "-" "Winamp 2"', None),
    ],
    "w3c_extended": [
        ("#Version: 1.0", None),
        ("#Fields: date time c-ip cs-method cs-uri-stem cs-uri-query sc-status cs(User-Agent) cs(Referer)", None),
        ("2025-03-01 10:00:00 192.0.2.1 GET /a x=1 200 Mozilla/5.0+(X11) -", {"path": "/a?x=1", "user_agent": "Mozilla/5.0 (X11)", "time": T, "ip": "192.0.2.1"}),
        ("2025-03-01 10:00:00 2001:db8::1 GET /a - 304 - https://r.example/", {"path": "/a", "referrer": "https://r.example/", "status": 304}),
        ('2025-03-01 10:00:00 192.0.2.1 GET /a - 200 "quoted agent" "-"', {"user_agent": "quoted agent"}),
        ("2025-03-01 10:00:00 192.0.2.1 GET /too-few", None),
        ("#Fields: time date cs-uri-stem c-ip cs-host sc-status", None),
        ("10:00:00 2025-03-01 /after 192.0.2.2 h.example:8080 200", {"path": "/after", "ip": "192.0.2.2", "host": "h.example", "time": T, "method": None}),
    ],
    "iis": [
        ("#Software: Microsoft Internet Information Services 10.0", None),
        ("#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken", None),
        ("2025-03-01 10:00:00 10.0.0.1 GET /a/b.pdf - 443 - 192.0.2.1 Mozilla/5.0+(Windows+NT+10.0) - 200 0 0 15", {"path": "/a/b.pdf", "user_agent": "Mozilla/5.0 (Windows NT 10.0)", "status": 200, "ip": "192.0.2.1"}),
        ("2025-03-01 10:00:00 10.0.0.1 POST /s q=%C3%A9 443 DOM\\jo 192.0.2.1 - https://r.example/ 500 0 64 15", {"path": "/s?q=%C3%A9", "status": 500, "referrer": "https://r.example/"}),
    ],
    "amazon_cloudfront": [
        ("#Version: 1.0", None),
        ("#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header", None),
        ("2025-03-01\t10:00:00\tLAX1\t2390\t192.0.2.1\tGET\td111.cloudfront.net\t/a.html\t200\thttps://r.example/\tMozilla/4.0%20(x;%2520y)\tq=1\t-\tHit\tid==\trepo.example.org", {"path": "/a.html?q=1", "host": "repo.example.org", "user_agent": "Mozilla/4.0 (x; y)", "time": T}),
        ("2025-03-01\t10:00:00\tLAX1\t2390\t2001:db8::1\tHEAD\td111.cloudfront.net\t/\t403\t-\tcurl/8\t-\t-\tError\tid==\trepo.example.org", {"path": "/", "status": 403, "method": "HEAD"}),
    ],
    "incapsula_w3c": [
        ("#Software: Incapsula LOGS API", None),
        ("#Fields: date time cs-vid cs-clapp c-ip cs(User-Agent) cs-uri cs(Referrer) cs-method cs-uri-query sc-status", None),
        ('"2025-03-01" "10:00:00" "v1" "Firefox" "192.0.2.1" "Mozilla/5.0 (X11; Linux)" "www.example.org/a/b" "https://r.example/x y" "GET" "q=1" "200"', {"host": "www.example.org", "path": "/a/b?q=1", "user_agent": "Mozilla/5.0 (X11; Linux)", "referrer": "https://r.example/x y"}),
        ('"2025-03-01" "10:00:00" "v1" "" "192.0.2.1" "" "www.example.org/" "" "GET" "" "301"', {"path": "/", "status": 301}),
    ],
    "shoutcast": [
        ("#Fields: c-ip c-dns date time cs-uri-stem c-status cs(User-Agent) sc-bytes x-duration avgbandwidth", None),
        ("192.0.2.1 192.0.2.1 2025-03-01 10:00:00 /stream?title=Some%20Song 200 WinampMPEG/5.66 98305 3 262147", {"path": "/stream?title=Some%20Song", "status": 200, "time": T, "method": None}),
    ],
    "s3": [
        ('79a59df900b949e5 bucket1 [01/Mar/2025:10:00:00 +0000] 192.0.2.3 79a59df900b949e5 3E57427F3 REST.GET.OBJECT photos/a.jpg "GET /bucket1/photos/a.pdf?x=1 HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" - abc= SigV4 TLS h.example TLSv1.2', {"ip": "192.0.2.3", "host": "bucket1", "path": "/bucket1/photos/a.pdf?x=1", "status": 200, "user_agent": "S3Console/0.4", "time": T}),
        ('79a59df900b949e5 bucket1 [01/Mar/2025:10:00:00 +0000] - 79a59df900b949e5 3E57 REST.PUT.PART a%2520b "PUT /a%20b HTTP/1.1" 404 NoSuchKey 1 2 3 4 "https://r.example/" "A \\"b\\"" -', {"method": "PUT", "status": 404, "user_agent": 'A \\"b\\"'}),
    ],
    "elb": [
        ('2025-03-01T10:00:00.500000Z my-lb 192.0.2.1:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "GET http://www.example.com:80/a?b=c HTTP/1.1" "curl/7.38.0" - -', {"ip": "192.0.2.1", "host": "www.example.com", "path": "/a?b=c", "user_agent": "curl/7.38.0", "time": at(2025, 3, 1, 10, 0, 0, 500000)}),
        ('2025-03-01T10:00:00.000000Z my-lb 192.0.2.1:2817 - -1 -1 -1 504 0 0 0 "GET http://www.example.com:80/ HTTP/1.1"', {"status": 504, "user_agent": None}),
        ('h2 2025-03-01T10:00:00.000000Z app/my-lb/50dc6c 192.0.2.1:2817 10.0.0.1:80 0.000 0.001 0.000 304 304 34 366 "GET https://www.example.com:443/a b HTTP/2.0" "Mozilla \\"x\\"" ECDHE TLSv1.2 arn:aws:x "Root=1-58337262" "www.example.com" "-" 0 2025-03-01T09:59:59Z "forward" "-" "-"', {"path": "/a b", "status": 304, "user_agent": 'Mozilla \\"x\\"', "time": T}),
        ('2025-03-01T10:00:00.000000Z my-lb 192.0.2.1:2817 10.0.0.1:80 0.001 0.000028 0.000041 - - 82 305 "- - - " "-" - -', None),
    ],
    "haproxy": [
        ('Mar  1 10:00:00 localhost haproxy[14389]: 192.0.2.1:33317 [01/Mar/2025:10:00:00.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html?x HTTP/1.1"', {"ip": "192.0.2.1", "path": "/index.html?x", "status": 200, "time": at(2025, 3, 1, 10, 0, 0, 655000)}),
        ('Mar  1 10:00:00 lb haproxy[1]: 2001:db8::1:4444 [01/Mar/2025:10:00:00.000] in~ app/<NOSRV> 0/-1/-1/-1/+0 301 +96 - - LR-- 2/2/0/0/3 0/0 "HEAD https://h.example/a HTTP/2.0"', {"ip": "2001:db8::1", "host": "h.example", "path": "/a", "status": 301}),
        ('Mar  1 10:00:00 lb haproxy[1]: 192.0.2.1:4444 [01/Mar/2025:10:00:00.000] in in/<NOSRV> -1/-1/-1/-1/0 400 187 - - PR-- 2/2/0/0/3 0/0 "<BADREQ>"', None),
    ],
    "bunny": [
        ("HIT|200|1740823200500|412|390|192.0.2.1|-|https://cdn.example.org/a b.pdf?x=1|WA|Mozilla/5.0 (a|b)|322b688b|DE", {"ip": "192.0.2.1", "host": "cdn.example.org", "path": "/a b.pdf?x=1", "user_agent": "Mozilla/5.0 (a|b)", "time": at(2025, 3, 1, 10, 0, 0, 500000)}),
        ("MISS|404|1740823200000|0|390|2001:db8::|https://r.example/|https://cdn.example.org/|SG|-|322b688c|BR", {"status": 404, "referrer": "https://r.example/", "path": "/"}),
    ],
    "nginx_json": [
        ('{"ip":"192.0.2.1","host":"repo.example.org","path":"/a?b=1","status":"200","referrer":"-","user_agent":"U \\"A\\"","length":5,"date":"2025-03-01T11:00:00+01:00"}', {"path": "/a?b=1", "status": 200, "user_agent": 'U "A"', "time": T, "method": None}),
        ('{"remote_addr":"10.0.0.1","request":"GET /x y HTTP/1.1","status":304,"http_user_agent":"\\u00e9","time_local":"01/Mar/2025:10:00:00 +0000","http_x_forwarded_for":"203.0.113.7, 10.0.0.9"}', {"method": "GET", "path": "/x y", "status": 304, "user_agent": "é", "ip": "203.0.113.7, 10.0.0.9", "time": T}),
        ('{"ip":"192.0.2.1","path":"/cut","status":"20', None),
        ('{"a":1},{"b":2}', None),
    ],
    "traefik_json": [
        ('{"ClientHost":"192.0.2.1","DownstreamStatus":200,"RequestMethod":"GET","RequestPath":"/a?b","RequestHost":"repo.example.org","StartUTC":"2025-03-01T10:00:00.5Z","level":"info","msg":"","request_User-Agent":"UA","request_Referer":"https://r.example/","time":"2025-03-01T11:00:01+01:00"}', {"host": "repo.example.org", "path": "/a?b", "user_agent": "UA", "referrer": "https://r.example/", "time": at(2025, 3, 1, 10, 0, 0, 500000)}),
        ('{"ClientHost":"2001:db8::1","DownstreamStatus":404,"RequestMethod":"HEAD","RequestPath":"/","level":"info","msg":"","time":"2025-03-01T11:00:00+01:00"}', {"status": 404, "time": T, "user_agent": None}),
        ('{"level":"error","msg":"no access line","time":"2025-03-01T11:00:00+01:00"}', None),
    ],
    "caddy_json": [
        ('{"level":"info","ts":1740823200.5,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.1","client_ip":"192.0.2.1","proto":"HTTP/2.0","method":"GET","host":"repo.example.org","uri":"/a?b","headers":{"User-Agent":["UA"],"Referer":["https://r.example/"]}},"user_id":"","status":200,"resp_headers":{}}', {"ip": "192.0.2.1", "path": "/a?b", "user_agent": "UA", "referrer": "https://r.example/", "time": at(2025, 3, 1, 10, 0, 0, 500000)}),
        ('{"level":"info","ts":"2025-03-01T10:00:00Z","request":{"remote_addr":"192.0.2.1:4444","method":"GET","host":"h","uri":"/","headers":{}},"user_id":"","status":304,"resp_headers":{}}', {"ip": "192.0.2.1:4444", "status": 304, "time": T, "user_agent": None}),
    ],
}  # fmt: skip


def test_every_format_has_cases():
    assert set(CASES) == set(NAMES)


@pytest.mark.parametrize("name", CASES)
def test_fields(name):
    lines = [text for text, _ in CASES[name]]
    for (text, expected), got in zip(CASES[name], parse(lines, named(name)), strict=True):
        if expected is None:
            assert got is None, text
        else:
            assert got is not None, text
            assert {f: got[f] for f in expected} == expected, text


@pytest.mark.parametrize("name", [f.name for f in FORMATS])
def test_sniffed_from_a_sample(name):
    """Combined with a number behind it stays combined (upstream: icecast2): the fields are the same."""
    lines = [text for text, expected in CASES[name] if expected is not None or text.startswith("#")]
    assert detect(lines).name == ("ncsa_extended" if name == "icecast2" else name)


def test_one_odd_first_line_decides_nothing():
    """Upstream takes the format of the first line that matches: a common line in front would lose all agents."""
    lines = [text for text, expected in CASES["common"][:1]] + [
        text for text, expected in CASES["ncsa_extended"] if expected
    ]
    assert detect(lines).name == "ncsa_extended"


PIECES = st.sampled_from(
    ['"', '\\"', "\\", " ", "-", "GET", "/a", "HTTP/1.1", "200", "5", ",", "10.0.0.1", APACHE, '" "', "\t", "é", ""]
)
LINE = st.builds(
    '{} {} {} {} "{} {} {}" {} {} "{}" "{}"{}'.format,
    *(st.one_of(st.just(usual), PIECES, st.lists(PIECES, max_size=3).map("".join))
      for usual in ("10.0.0.1", "-", "-", APACHE, "GET", "/a", "HTTP/1.1", "200", "5", "-", "UA", "")),
)  # fmt: skip


CUT = {
    "common": "",
    "ncsa_extended": "",
    "ncsa_extended_forwarded": "",
    "common_vhost": "h.example:80 ",
    "common_complete": "h.example ",
    "ovh": "",
}
FORMS = st.sampled_from(sorted(CUT))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(LINE, min_size=1, max_size=20), FORMS, st.sampled_from(["", ' "203.0.113.7, 10.0.0.1"', ' "-"', ' "x"'])
)
def test_cutting_reads_what_the_pattern_reads(lines, name, tail):
    """The fast way is for speed alone: on any line it gives just what the pattern gives."""
    quick = named(name)
    lines = [CUT[name] + line + tail for line in lines]
    alone = quick.pattern.replace(
        IN_QUOTES, r"(?:\\.|[^\\]|\\)*?"
    )  # the same, so spelled that no simpler one is tried first
    assert parse(lines, quick) == parse(lines, RegexFormat(name, alone))
    assert parse(lines, quick) == parse(lines, RegexFormat(name, quick.pattern))


USUAL = st.builds(
    '{} - - [{}] "{} {} {}" {} {} "{}" "{}"{}'.format,
    st.sampled_from(["192.0.2.1", "2001:db8:1:2:3:4:5:6", "a-b.example.org", "-", "1,2", "1,,2", "é", "x" * 63, "x" * 65, "a b", ""]),
    st.sampled_from(["01/Mar/2025:10:00:00 +0000", "01/Mar/2025:10:00:00 -0530", "31/Feb/2025:10:00:00 +0000", "2025-03-01T10:00:00+00:00 ", "01]Mar/2025:10:00:00 +0000"]),
    st.sampled_from(["GET", "HEAD", "OPTIONS", "PROPFIND", "get", "G"]),
    st.sampled_from(["/", "/a b", " /a", "/a ", "", "/é", "*", "/a HTTP/1.1"]),
    st.sampled_from(["HTTP/1.1", "HTTP/2", "HTTP/2.0", "HTTP/9", "XHTTP/1.1", ""]),
    st.sampled_from(["200", "20", "2000", "2x0", "304"]),
    st.sampled_from(["5", "-", "", "1 2", "é"]),
    st.sampled_from(["-", "", "https://r.example/é"]),
    st.sampled_from(["-", "", "Mozilla/5.0 (日本)"]),
    st.sampled_from(["", " ", " 7", "x", ' "-"', ' "10.0.0.1"', ' "q']),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(USUAL, min_size=1, max_size=20), FORMS)
def test_cutting_nearly_usual_lines(lines, name):
    quick = named(name)
    lines = [CUT[name] + line for line in lines]
    assert parse(lines, quick) == parse(lines, RegexFormat(name, quick.pattern))


OBJECTS = st.sampled_from([
    '{"status":200,"ts":1740823200.25,"r":{"u":["\\u00e9 \\"x\\""]}}', '{"status":"304"} ', '{"status":null}', "{}", "", "x", '{"status":20', '{"r":"no object"}',
    '{"status":"x}', '{","r":1}', '{"status":1},{"status":2}', '{"status":1} , {"status":2}', '{"status":{"a":1}}', '{"r":{"u":[]}}', "[1]", '{"status":1}{"status":2}',
])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=80))
def test_a_broken_object_spoils_no_other_line(lines):
    places = [("status",), ("ts",), ("r", "u", "0")]
    alone = {text: values(pl.Series([text]), places).row(0) for text in set(lines)}
    assert values(pl.Series(lines), places).rows() == [alone[text] for text in lines]


def test_custom_regex():
    pattern = r"^(?P<date>\S+) (?P<time>\S+) (?P<ip>\S+) (?P<user>\S+) (?P<method>\S+) (?P<path>\S+) (?P<status>\d+) (?P<length>\d+) '(?P<referer>[^']*)' '(?P<user_agent>[^']*)'$"
    own = detect(["01.03.2025 10:00:00 192.0.2.1 jo GET /a 200 5 '-' 'U A'"], custom=(pattern, "%d.%m.%Y %H:%M:%S"))
    fields = parse(["01.03.2025 10:00:00 192.0.2.1 jo GET /a 200 5 'https://r.example/' 'U A'"], own)[0]
    assert (fields["time"], fields["path"], fields["user_agent"], fields["referrer"]) == (
        T,
        "/a",
        "U A",
        "https://r.example/",
    )


@pytest.mark.parametrize("pattern", [r"(?P<time>\S+) (?P<path>(?=x)\S+)", r"(?P<time>\S+)", r"(?P<a>\S+)(?P=a)"])
def test_custom_regex_that_cannot_be_used(pattern):
    with pytest.raises(UnknownFormatError, match="format_regex"):
        detect(["x"], custom=(pattern, None))


def test_unknown_format_says_what_was_tried():
    with pytest.raises(UnknownFormatError) as error:
        detect(["hello 192.0.2.1 and 2001:db8::1 at 10:00:00"])
    message = str(error.value)
    assert "hello x.x.x.x and x.x.x.x at 10:00:00" in message
    assert "ncsa_extended" in message
    assert "format_regex" in message


def test_wrong_forced_format():
    line = CASES["ncsa_extended"][0][0]
    with pytest.raises(UnknownFormatError, match="the format asked for, iis, reads none"):
        detect([line], forced="iis")
    with pytest.raises(UnknownFormatError, match="no format 'nginks'"):
        detect([line], forced="nginks")
    assert detect([line], forced="combined").name == "ncsa_extended"
