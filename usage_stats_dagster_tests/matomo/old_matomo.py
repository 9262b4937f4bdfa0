"""A small database in the shape of Matomo 3: latin1, 32-bit ids, no custom variables, and what strict modes forbid."""

from __future__ import annotations

from usage_stats_dagster_tests.services import MariaDB

BIG = 4_294_967_295
"""The greatest unsigned 32-bit id: its sign is what a client gets wrong."""

HUGE = 9_007_199_254_740_993
"""No double holds it."""

_SCHEMA = """
CREATE TABLE {p}log_visit (idvisit INT UNSIGNED NOT NULL PRIMARY KEY, idsite INT UNSIGNED NOT NULL, idvisitor BINARY(8) NOT NULL,
  visit_last_action_time DATETIME NOT NULL, config_id BINARY(8) NOT NULL, location_ip VARBINARY(16) NOT NULL,
  visit_first_action_time DATETIME NOT NULL, visit_total_actions SMALLINT UNSIGNED, visit_total_time INT UNSIGNED NOT NULL,
  referer_type TINYINT UNSIGNED, referer_name VARCHAR(70), config_browser_name VARCHAR(10), location_country CHAR(3),
  KEY index_idsite_datetime (idsite, visit_last_action_time)) CHARACTER SET latin1;
CREATE TABLE {p}log_action (idaction INT UNSIGNED NOT NULL PRIMARY KEY, name TEXT, hash INT UNSIGNED NOT NULL, type TINYINT UNSIGNED,
  url_prefix TINYINT) CHARACTER SET {charset};
CREATE TABLE {p}log_link_visit_action (idlink_va BIGINT UNSIGNED NOT NULL PRIMARY KEY, idsite INT UNSIGNED NOT NULL,
  idvisitor BINARY(8) NOT NULL, idvisit INT UNSIGNED NOT NULL, idaction_url_ref INT UNSIGNED, idaction_url INT UNSIGNED,
  idaction_name INT UNSIGNED, server_time DATETIME NOT NULL, custom_dimension_3 VARCHAR(255) {index}) CHARACTER SET latin1
"""


def build(server: MariaDB, name: str, *, prefix: str = "piwik_", charset: str = "latin1", indexed: bool = True) -> str:
    """Makes the database anew and returns its URL."""
    index = ", KEY index_idsite_servertime (idsite, server_time)" if indexed else ""
    tables = [s for s in _SCHEMA.format(p=prefix, charset=charset, index=index).split(";") if s.strip()]
    v, a, e = (f"{prefix}{t}" for t in ("log_visit", "log_action", "log_link_visit_action"))
    rows = [
        "SET SESSION sql_mode = ''",
        f"INSERT INTO {v} VALUES ({BIG}, 7, 'visitor1', '2025-03-02 00:10:00', 'config__', UNHEX('C0A80102'), '2025-03-01 23:50:00', 2, 1201, 1, NULL, 'CH', 'BR')",
        f"INSERT INTO {v} VALUES (2, 7, 'visitor2', '2025-03-01 10:00:00', 'config__', UNHEX('20010DB8000000000000000000000001'), '0000-00-00 00:00:00', NULL, 0, 3, 'caf\u00e9', NULL, NULL)",
        f"INSERT INTO {v} VALUES (3, 8, 'visitor3', '2025-03-01 10:00:00', 'config__', '', '2025-03-01 10:00:00', 1, 0, 1, NULL, NULL, 'xx')",
        f"INSERT INTO {a} VALUES ({BIG}, 'host/caf\u00e9/1', 1, 1, 2), (2, 'https://host/caf\u00e9.pdf?a=1&amp;b=2', 2, 3, NULL), (3, '\u00e1gua', 3, 8, NULL), (4, 'Title', 4, 4, NULL)",
        f"INSERT INTO {e} VALUES ({HUGE}, 7, 'visitor1', {BIG}, NULL, {BIG}, 4, '2025-03-01 23:50:00', 'd3')",
        f"INSERT INTO {e} VALUES (11, 7, 'visitor1', {BIG}, 0, 2, NULL, '2025-03-02 00:10:00', NULL)",
        f"INSERT INTO {e} VALUES (12, 7, 'visitor2', 2, 0, NULL, 3, '2025-03-01 10:00:00', NULL)",
        f"INSERT INTO {e} VALUES (13, 7, 'visitor2', 2, 0, 0, NULL, '2025-03-01 10:00:00', NULL)",
        f"INSERT INTO {e} VALUES (14, 7, 'visitor2', 2, 0, 0, NULL, '0000-00-00 00:00:00', NULL)",
        f"INSERT INTO {e} VALUES (15, 8, 'visitor3', 3, 0, 2, NULL, '2025-03-01 10:00:00', NULL)",
    ]
    server.execute(name, f"DROP DATABASE `{name}`")
    server.execute(name, *tables, *rows)
    return server.database(name)
