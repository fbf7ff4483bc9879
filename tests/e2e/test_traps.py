"""Traps that no other file is about: forms of values, kinds of errors, settings of sessions, missing rights."""
import re

import psycopg2
import pytest

from harness.poll import poll_until

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')"
FORMS = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b mood);
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE pointed_at (id int PRIMARY KEY);
CREATE TABLE known (id int PRIMARY KEY, a bigint[], m mood, p percent, n numeric, at timestamptz);
CREATE TABLE with_oids (id int PRIMARY KEY, r regclass);
CREATE TABLE with_row (id int PRIMARY KEY, p pair);"""
ROWS = """
INSERT INTO known VALUES ({0}, '{{1,NULL}}', 'sad', 7, 'NaN', 'infinity');
INSERT INTO with_oids VALUES ({0}, 'pointed_at'); INSERT INTO with_row VALUES ({0}, '(1,happy)');"""
MUST_BE_TEXT = {"with_oids", "with_row"}


def test_trap_B3_binary_only_where_every_type_is_known(make_pair):
    """A regclass or a composite carries the source's OIDs in binary: another object there, and no error."""
    pair = make_pair(target={"log_statement": "all"})
    pair.source.sql(FORMS + ROWS.format(1))
    pair.target.sql("CREATE TABLE something_else (id int PRIMARY KEY); DROP TABLE something_else")  # other OIDs there
    job = pair.running_job()
    log = pair.target.server.log()
    copied = dict(re.findall(r'COPY "?public"?\."?(\w+)"? [^\n]*?(binary|text)', log, re.IGNORECASE))
    forms = {table: form.lower() for table, form in copied.items()}
    assert forms["known"] == "binary", "the fast form is for what is known"
    assert {table for table, form in forms.items() if form == "text"} >= MUST_BE_TEXT, forms
    pair.source.sql(ROWS.format(2))
    pair.source.sql("UPDATE with_oids SET r = 'known' WHERE id = 1; UPDATE with_row SET p = '(2,sad)' WHERE id = 1")
    pair.wait_equal()
    assert pair.target.sql("SELECT id, r::text, r::oid = to_regclass(r::text) FROM with_oids ORDER BY id") == [
        (1, "known", True), (2, "pointed_at", True)]
    assert job.process.alive()


def blocked_backend(pair):
    return pair.target.one("SELECT pid FROM pg_locks WHERE NOT granted AND database ="
                           " (SELECT oid FROM pg_database WHERE datname = current_database())")


def test_trap_C4_cancelled_statement_is_tried_again(pair):
    """57014 passes by itself; nothing is given up for it."""
    pair.source.sql(TABLE)
    job = pair.running_job()
    holder = pair.target.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    pair.source.sql("UPDATE t SET v = 'y'")
    pid = poll_until(lambda: blocked_backend(pair), "the sink is blocked")
    pair.target.sql("SELECT pg_cancel_backend(%s)", (pid,))
    poll_until(lambda: job.status()["totals"]["retries"] > 0, "it is tried again")
    holder.rollback()
    holder.close()
    pair.wait_equal()
    assert job.process.alive()


@pytest.mark.parametrize("harm", ["DROP TABLE t", "ALTER TABLE t DROP COLUMN v"], ids=["42P01", "42703"])
def test_trap_C4_missing_table_while_applying_is_the_row_and_not_the_configuration(pair, harm):
    pair.source.sql(TABLE)
    job = pair.running_job()
    pair.target.sql(harm)
    pair.source.sql("UPDATE t SET v = 'y'")
    assert job.process.wait(30) == 5, job.process.err
    assert "public.t" in job.process.err and "hint:" in job.process.err


# Each of them would end a session that does not set its own (or make it unable to write).
ODD = {"statement_timeout": "400ms", "lock_timeout": "400ms", "idle_in_transaction_session_timeout": "400ms",
       "idle_session_timeout": "400ms", "default_transaction_read_only": "on",
       "default_transaction_isolation": "serializable", "timezone": "Asia/Kathmandu", "xmloption": "document",
       "standard_conforming_strings": "off", "search_path": "nowhere", "row_security": "on"}


def odd_role(database):
    """A role whose sessions begin with settings that break everything which relies on the defaults."""
    name = f"odd_{database.name}"
    settings = "; ".join(f'ALTER ROLE {name} SET {key} = "{value}"' for key, value in ODD.items())
    database.sql(f"CREATE ROLE {name} SUPERUSER LOGIN REPLICATION; {settings}")
    return name


def test_trap_C5_every_session_has_its_own_settings(make_pair):
    """Checker, exporter, dump, COPY, keeper, walsender, apply: all waits are longer than the role's timeouts."""
    pair = make_pair()
    pair.source.sql(TABLE)
    pair.source.sql("CREATE TABLE late (id int PRIMARY KEY, at timestamptz); INSERT INTO late VALUES (1, now())")
    bank = pair.bank(pause=0.05).start()
    job = pair.job(source_dsn=pair.source.dsn(user=odd_role(pair.source)),
                   target_dsn=pair.target.dsn(user=odd_role(pair.target)), source={"heartbeat": "1s"})
    job.start(fault="snapshot.after_export:sleep:900,snapshot.mid_table:sleep:900@1,snapshot.before_handover:sleep:900")
    job.wait_for("running")
    holder = pair.target.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    pair.source.sql("UPDATE t SET v = 'waits'; UPDATE late SET at = now()")
    pid = poll_until(lambda: blocked_backend(pair), "the sink is blocked")
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        other = pair.target.connect(autocommit=False)
        other.cursor().execute("SET lock_timeout = '1200ms'; LOCK TABLE t IN ACCESS SHARE MODE")
    other.close()
    assert blocked_backend(pair) == pid, "the same session still waits"
    holder.rollback()
    holder.close()
    bank.pause_writers()
    pair.wait_equal()
    assert job.status()["totals"]["retries"] == 0, job.process.err


CASCADE = """
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES parent ON DELETE CASCADE);
CREATE TABLE noted (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, child_id int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.noted (child_id) VALUES (new.id); RETURN new; END $$;
CREATE TRIGGER noting AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION note();
CREATE RULE noting AS ON DELETE TO parent DO ALSO INSERT INTO noted (child_id) VALUES (old.id);
CREATE VIEW kept AS SELECT p.*, (SELECT count(*) FROM noted) AS n FROM parent p GROUP BY p.id;
INSERT INTO parent SELECT generate_series(1, 20); INSERT INTO child SELECT i, i FROM generate_series(1, 20) i"""


FAMILY_WORK = "DELETE FROM parent WHERE id <= 5; INSERT INTO parent VALUES (50); INSERT INTO child VALUES (50, 50)"


def test_trap_C7_without_the_replica_role_foreign_keys_and_triggers_are_left_out(pair):
    """With them the cascade at the destination would delete what the stream deletes next, and triggers fire twice."""
    pair.source.sql(CASCADE)
    user = f"plain_{pair.name}"
    pair.target.sql(f'CREATE ROLE {user} LOGIN; ALTER DATABASE "{pair.name}" OWNER TO {user}')
    job = pair.job(target_dsn=pair.target.dsn(user=user))
    result = job.call("check", "--json")
    items = {item["name"]: item for item in result.json()["items"]}
    assert result.exit == 0 and items["replica-role"]["state"] == "alert", result.out
    assert "foreign keys" in items["replica-role"]["seen"] and "GRANT SET" in items["replica-role"]["fix"]
    job.start()
    job.wait_for("running")
    pair.source.sql(FAMILY_WORK)
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 0
    assert pair.target.one("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    assert pair.target.sql("SELECT rulename FROM pg_rules WHERE schemaname = 'public'") == []
    assert pair.target.one("SELECT count(*) FROM kept") == 16, "the rule that a view is comes in any case"
    assert "foreign keys, triggers and rules are left out" in job.process.err
    assert job.status()["totals"]["retries"] == 0


def test_trap_C7_with_the_replica_role_they_are_there_and_keep_still(pair):
    pair.source.sql(CASCADE)
    job = pair.running_job()
    pair.source.sql(FAMILY_WORK)
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 1
    assert pair.target.one("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 1
    assert pair.target.sql("SELECT rulename FROM pg_rules WHERE schemaname = 'public'") == [("noting",)]
    assert job.process.alive()
