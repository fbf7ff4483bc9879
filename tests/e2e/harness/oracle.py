"""Oracles over two databases: every table, every definition. (The bank's own oracle is in bank.py.)"""
import re
import subprocess

import psycopg2

from .place import NEWEST, clean_environment, postgres_bin
from .poll import poll_until

TABLES = """
SELECT n.nspname, c.relname, c.oid
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'walferry')
   AND c.relname !~ '^dts_'
 ORDER BY 1, 2"""
COLUMNS = """
SELECT quote_ident(attname) FROM pg_attribute
 WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
SEQUENCES = """
SELECT schemaname || '.' || sequencename, last_value FROM pg_sequences WHERE schemaname <> 'walferry' ORDER BY 1"""


def fingerprints(database, only=None):
    """{"schema.table": (rows, checksum over all rows in a fixed order)}, in one snapshot."""
    connection = database.connect(autocommit=False)
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        cursor = connection.cursor()
        cursor.execute("SET LOCAL search_path = ''; SET LOCAL row_security = off")
        cursor.execute(TABLES)
        return {f"{schema}.{name}": _fingerprint(cursor, schema, name, oid)
                for schema, name, oid in cursor.fetchall() if only is None or f"{schema}.{name}" in only}
    finally:
        connection.close()


def _fingerprint(cursor, schema, name, oid):
    cursor.execute(COLUMNS, (oid,))
    columns = ", ".join(row[0] for row in cursor.fetchall())
    table = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))
    cursor.execute(f"SELECT count(*), md5(coalesce(string_agg(h, '' ORDER BY h), '')) FROM"
                   f" (SELECT md5(ROW({columns})::text) AS h FROM ONLY {table} t) AS hashes")
    return cursor.fetchone()


def differences(source, target, only=None):
    """Names of tables whose rows differ or that only one side has."""
    left, right = fingerprints(source, only), fingerprints(target, only)
    return [f"{name}: source {left.get(name)}, target {right.get(name)}"
            for name in sorted(left.keys() | right.keys()) if left.get(name) != right.get(name)]


def check_equal(source, target, only=None):
    found = differences(source, target, only)
    assert not found, "both sides differ:\n  " + "\n  ".join(found)


def wait_equal(source, target, only=None, timeout=60):
    def equal():
        found = differences(source, target, only)
        wait_equal.last = found
        return not found
    try:
        poll_until(equal, "both sides are equal", timeout, every=0.2, forgiving=(psycopg2.Error,))
    except AssertionError as error:
        raise AssertionError(f"{error}\n  " + "\n  ".join(getattr(wait_equal, "last", []))) from None


def dump_program(server):
    """One for both sides, as long as both are of chosen versions: different ones would write differently."""
    return postgres_bin(NEWEST if server.version else None) / "pg_dump"


def definitions(database, ignoring=(), rewrite=lambda line: line, options=()):
    """What pg_dump says about the schema, without what differs by right: publications, walferry's own, and the servers'
    private pg_attver, which older pg_dumps show."""
    text = subprocess.run(
        [dump_program(database.server), "--schema-only", "--encoding=UTF8", "--no-publications", "--no-subscriptions",
         *(options or ("--no-owner", "--no-privileges")), "--exclude-schema=walferry", "--exclude-table=public.dts_*",
         "-h", database.server.directory, "-p", str(database.server.port), "-U", "postgres", database.name],
        env=clean_environment(), check=True, capture_output=True, text=True).stdout
    text = re.sub(r"\bpg_attver=\d+, |, pg_attver=\d+\b", "", text)
    return [rewrite(line) for line in text.splitlines()
            if line and not line.startswith(("--", "\\restrict", "\\unrestrict")) and
            not any(word in line for word in (*ignoring, "SET (pg_attver="))]


def definition_differences(source, target, **options):
    """(lines that only the source has, lines that only the target has); what both have must be in the same order."""
    left, right = (definitions(side, **options) for side in (source, target))
    missing = [line for line in left if line not in set(right)]
    extra = [line for line in right if line not in set(left)]
    if not missing and not extra:
        assert left == right, "definitions are in another order"
    return missing, extra


def check_definitions(source, target, ignoring=(), **options):
    missing, extra = definition_differences(source, target, ignoring=ignoring, **options)
    assert not missing and not extra, "definitions differ:\n  only on the source:\n    " + "\n    ".join(missing) + \
        "\n  only at the target:\n    " + "\n    ".join(extra)


def check_sequences(source, target):
    """Never behind: a value that was handed out at the source is not handed out again."""
    left, right = dict(source.sql(SEQUENCES)), dict(target.sql(SEQUENCES))
    assert left.keys() == right.keys()
    behind = {name: (value, right[name]) for name, value in left.items()
              if value is not None and (right[name] is None or right[name] < value)}
    assert not behind, f"sequences behind the source: {behind}"
