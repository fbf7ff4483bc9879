"""What stands in the way is told before anything is made: the item, the sentence, the exit code."""
import re

import pytest
import yaml

from harness.poll import poll_until

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text)"


def items_of(result):
    report = result.json()
    states = [item["state"] for item in report["items"]]
    for key, state in (("passed", "passed"), ("alerts", "alert"), ("failed", "failed"), ("ignored", "ignored")):
        assert report[key] == states.count(state), key
    names = [item["name"] for item in report["items"]]
    assert len(names) == len(set(names)), "one item a kind"
    for item in report["items"]:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", item["name"])
        assert item["seen"] and (item["fix"] or item["state"] in ("passed", "ignored")), item
    return {item["name"]: item for item in report["items"]}


def failed(result, *words):
    """check: exit 1, and a Failed item that says the words."""
    assert result.exit == 1, f"exit {result.exit}: {result.err}"
    found = [item for item in items_of(result).values() if item["state"] == "failed"]
    for word in words:
        assert any(word in item["seen"] + item["fix"] for item in found), f"{word!r} is not in {found}"
    return found


def one_sentence(result, code, *words):
    assert result.exit == code, f"exit {result.exit}: {result.err}"
    assert "hint:" in result.err, result.err
    for word in words:
        assert word in result.err, f"{word!r} is not in the sentence: {result.err}"


@pytest.mark.asan
def test_check_of_a_good_pair_passes_and_makes_nothing(pair):
    pair.source.sql(TABLE)
    job = pair.job()
    result = job.call("check", "--json")
    assert result.exit == 0, result.out + result.err
    assert not [item for item in items_of(result).values() if item["state"] == "failed"]
    assert pair.target.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'walferry'") == []
    assert pair.source.sql("SELECT 1 FROM pg_publication") == []
    text = job.call("check")
    assert text.exit == 0 and "wal-level" in text.out


@pytest.mark.parametrize("side", ["source", "target"])
def test_wrong_password(pair, side):
    pair.source.sql(TABLE)
    server = getattr(pair, side).server
    server.sql("DO $$ BEGIN CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'right';"
               " EXCEPTION WHEN duplicate_object THEN END $$")
    wrong = getattr(pair, side).dsn(user="locked", password="not-this-one")
    job = pair.job(**{f"{side}_dsn": wrong})
    result = job.call("check", "--json")
    failed(result, "locked")
    assert "not-this-one" not in result.said
    done = job.run()
    one_sentence(done, 2, side, "locked")
    assert "not-this-one" not in done.said
    right = pair.job(folder="right", **{f"{side}_dsn": getattr(pair, side).dsn(user="locked", password="right")})
    assert right.call("check").exit == 0


def test_mistyped_host(pair):
    job = pair.job(source_dsn="postgresql://postgres@no-such-host.invalid:5432/shop")
    failed(job.call("check", "--json", "--wait", "1s"), "no-such-host.invalid")
    one_sentence(job.run("--wait", "1s"), 6, "no-such-host.invalid")


def test_nobody_listens(pair):
    from harness.place import free_port
    job = pair.job(target_dsn=f"postgresql://postgres@127.0.0.1:{free_port()}/shop")
    failed(job.call("check", "--json", "--wait", "1s"), "127.0.0.1")
    one_sentence(job.run("--wait", "1s"), 6, "127.0.0.1")


@pytest.mark.parametrize("side", ["source", "target"])
def test_database_that_does_not_exist(pair, side):
    pair.source.sql(TABLE)
    job = pair.job(**{f"{side}_dsn": getattr(pair, side).dsn(database="no_such_database")})
    failed(job.call("check", "--json"), "no_such_database")
    one_sentence(job.run(), 2, "no_such_database")


def test_wal_level_below_logical(make_pair):
    """F21."""
    pair = make_pair(source={"wal_level": "replica"})
    pair.source.sql(TABLE)
    job = pair.job()
    result = job.call("check", "--json")
    failed(result, "logical")
    assert items_of(result)["wal-level"]["state"] == "failed"
    one_sentence(job.run(), 2, "wal_level", "logical")


def test_role_without_replication(pair):
    """F22."""
    pair.source.sql(TABLE)
    pair.source.server.sql("DO $$ BEGIN CREATE ROLE humble LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    job = pair.job(source_dsn=pair.source.dsn(user="humble"))
    failed(job.call("check", "--json"), "REPLICATION")
    one_sentence(job.run(), 2, "REPLICATION")


def test_existing_tables_are_not_touched(pair):
    pair.source.sql(TABLE + "; INSERT INTO t VALUES (1, 'source')")
    pair.target.sql(TABLE)
    job = pair.job()
    failed(job.call("check", "--json"), "public.t")
    one_sentence(job.run(), 2, "public.t")
    assert pair.target.one("SELECT count(*) FROM t") == 0
    assert pair.source.sql("SELECT 1 FROM pg_publication") == []


def test_user_publication_is_only_checked(pair):
    pair.source.sql(TABLE + "; CREATE TABLE left_out (id int PRIMARY KEY); CREATE PUBLICATION mine FOR TABLE t")
    job = pair.job(source={"publication": "mine"})
    failed(job.call("check", "--json"), "left_out")
    assert pair.source.sql("SELECT tablename FROM pg_publication_tables") == [("t",)]


def test_trap_A14_we_would_become_a_synchronous_standby(make_pair):
    pair = make_pair(source={"synchronous_standby_names": "*", "synchronous_commit": "local"})
    pair.source.sql(TABLE)
    failed(pair.job().call("check", "--json"), "synchronous_standby_names")


def test_alert_can_be_ignored_and_a_failure_cannot(pair):
    pair.source.sql("CREATE TABLE bare (a int)")
    job = pair.job()
    items = items_of(job.call("check", "--json", "--ignore", "replica-identity"))
    assert items["replica-identity"]["state"] == "failed"
    unknown = job.call("check", "--ignore", "no-such-item")
    assert unknown.exit == 2 and "no-such-item" in unknown.err


JOB = {"name": "x", "source": {"dsn": "postgresql://a@127.0.0.1:1/x"},
       "target": {"dsn": "postgresql://a@127.0.0.1:1/y"}}
WRONG_FILES = {
    "unknown key": ("name: x\nsource:\n  dsn: postgresql://a@h/x\n  heartbeet: 1s\n", ["heartbeet", "heartbeat", "4"]),
    "wrong unit": (yaml.safe_dump(JOB | {"memory": "12 apples"}), ["memory", "12 apples"]),
    "no unit": (yaml.safe_dump(JOB | {"memory": 128}), ["memory"]),
    "wrong word": (yaml.safe_dump(JOB | {"identity": "sometimes"}), ["identity", "sometimes"]),
    "wrong type": (yaml.safe_dump(JOB | {"phases": {"schema": "yes"}}), ["phases"]),
    "bad name": (yaml.safe_dump(JOB | {"name": "Not A Name"}), ["name"]),
    "not yaml": ("name: [x\nsource: }\n", []),
    "later key": (yaml.safe_dump(JOB | {"metrics": {"listen": "127.0.0.1:1"}}), ["metrics.listen", "not available yet"]),
    "later value": (yaml.safe_dump(JOB | {"guard": {"at_limit": "spool"}}), ["guard.at_limit", "not available yet"]),
    "bad dsn": (yaml.safe_dump(JOB | {"source": {"dsn": "postgresql://h/x?no_such_option=1"}}), ["source.dsn"]),
    "twice": ("name: x\nname: y\n", ["name", "2"]),
}


@pytest.mark.parametrize("wrong", WRONG_FILES)
@pytest.mark.parametrize("command", ["check", "run"])
def test_wrong_job_files_are_told_with_the_line(pair, wrong, command):
    text, words = WRONG_FILES[wrong]
    result = pair.job(text=text).call(command)
    assert result.exit == 2, f"exit {result.exit}: {result.err}"
    for word in words:
        assert word in result.err, f"{word!r} is not in: {result.err}"


def test_job_file_that_is_not_there(pair):
    job = pair.job()
    job.file.unlink()
    result = job.run()
    assert result.exit == 2 and "job.yaml" in result.err


def test_a_server_that_breaks_off_in_the_middle_is_asked_again(pair):
    """F14: a restart during the check is no finding, but waited for."""
    pair.source.sql(TABLE)
    job = pair.job()
    holder = pair.source.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE pg_catalog.pg_event_trigger IN ACCESS EXCLUSIVE MODE")
    process = job.start()
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'pg_event_trigger'::regclass"
    poll_until(lambda: pair.source.sql(waiting), "the check waits for a catalog")
    pair.source.sql(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) w")
    holder.rollback()
    holder.close()
    job.wait_for("running")
    assert process.alive()
