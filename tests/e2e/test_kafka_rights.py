"""Brokers with accounts and rights: what one right less leads to, wrong logins, encryption (F89). A job that may not do
its work says which right it lacks before anything is made on the source."""
import json
from pathlib import Path

import pytest

from harness.tls import Authority

PASSWORD, WRONG = "open-sesame-4711", "wrong-sesame-0815"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text)"
TOPICS = ("shop.public.t", "__debezium-heartbeat.shop")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(place, authority):
    """One broker for all: accounts differ from test to test."""
    from harness.broker import Broker
    users = {"admin": "admin"} | {f"u{number}": PASSWORD for number in range(40)}
    broker = Broker(place, "guarded", users=users, tls=authority.sign("localhost")).start()
    yield broker
    broker.discard(place.keep)


accounts = iter(range(40))


class Account:
    """A user who may do what a job needs with topics of this prefix, but for what is left out."""

    def __init__(self, broker, prefix, slot, without=(), made=True):
        self.broker, self.prefix, self.name = broker, prefix, f"u{next(accounts)}"
        self.topics = [f"{prefix}.public.t", f"__debezium-heartbeat.{prefix}"]
        self.control, self.ids = f"{prefix}.walferry", "walferry."
        if made:
            broker.create_topics(self.topics)
            broker.create_topic(self.control, config={"cleanup.policy": "compact"})
        rights = {(operation, topic) for topic in [*self.topics, self.control] for operation in ("describe", "write", "create")}
        rights |= {("read", self.control), ("describe", "id"), ("write", "id")}
        self.allow(rights - set(without))

    def allow(self, rights):
        self.broker.allow_all(self.name, [
            (operation, self.ids, "transactional_id", True) if what == "id" else (operation, what, "topic", False)
            for operation, what in rights])

    def job(self, pair, password=PASSWORD, config=None, alone=True, **kafka):
        client = self.broker.client(self.name)
        login = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": self.name,
                 "sasl.password": password} | (config or {})
        phases = {"phases": ["incremental"]} if alone else {}
        return pair.job(file_only=alone, **phases, kafka={
            "brokers": client["bootstrap.servers"], "prefix": self.prefix, "config": login} | kafka)


def account(guarded, prefix, pair, without=(), made=True):
    """without: (operation, topic or "id"); "t", "control" and "heartbeat" stand for the job's topics."""
    names = {"t": f"{prefix}.public.t", "control": f"{prefix}.walferry", "heartbeat": f"__debezium-heartbeat.{prefix}"}
    pair.source.sql(TABLE)
    return Account(guarded, prefix, pair.name, [(operation, names.get(what, what)) for operation, what in without], made)


prefixes = iter(range(1000))


@pytest.fixture
def prefix(guarded):
    prefix = f"r{next(prefixes):03}"
    yield prefix
    guarded.delete_topics(prefix)


def nothing_made(pair, job):
    for catalog, column in (("pg_replication_slots", "slot_name"), ("pg_publication", "pubname")):
        assert pair.source.one(f"SELECT count(*) FROM {catalog} WHERE {column} LIKE %s", [f"{job.slot}%"]) == 0, catalog
    assert pair.source.one("SELECT count(*) FROM pg_namespace WHERE nspname = 'walferry'") == 0


def said_nowhere(job, secret):
    """No output of the job's processes, nothing that it has left in its folder, no command line."""
    for path in job.directory.rglob("*"):
        if path.is_file() and path != job.file:
            assert secret not in path.read_text(errors="replace"), path
    for process in job.processes:
        if process.alive():
            assert secret.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def refused(job, *words):
    done = job.run("--until", "now", timeout=90)
    assert done.exit == 2, f"{done.exit}: {done.err}"
    for word in words:
        assert word in done.err, done.err
    assert "hint:" in done.err, done.err
    said_nowhere(job, PASSWORD)
    return done


def delivers(pair, job, guarded, prefix, *rows):
    pair.source.sql(f"INSERT INTO t SELECT generate_series({rows[0]}, {rows[-1]}), 'x'")
    done = job.run("--until", "now")
    assert done.exit == 0, done.err
    assert [json.loads(record.key)["id"] for record in guarded.consume(f"{prefix}.public.t")] == list(range(1, rows[-1] + 1))


# ---- rights ----


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
@pytest.mark.parametrize("made", [True, False])
def test_these_rights_are_enough(pair, guarded, prefix, delivery, made):
    """Nothing on the cluster: not even IdempotentWrite, which brokers of today do not ask of those who may write."""
    who = account(guarded, prefix, pair, made=made)
    job = who.job(pair, delivery=delivery)
    assert job.run("--until", "now").exit == 0, job.process.err
    delivers(pair, job, guarded, prefix, 1, 3)
    said_nowhere(job, PASSWORD)


LACKING = [("describe", "t"), ("write", "t"), ("describe", "heartbeat"), ("write", "heartbeat"), ("describe", "control"),
           ("write", "control"), ("read", "control"), ("write", "id")]


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
@pytest.mark.parametrize("operation, what", LACKING)
def test_one_right_less(pair, guarded, prefix, operation, what, delivery):
    """Describe is a part of Write and of Read: without it these go, too."""
    parts = {("read", "control"): [("write", "control")]}.get((operation, what), [])
    without = [(operation, what)] + ([("write", what), ("read", what)] if operation == "describe" else [])
    who = account(guarded, prefix, pair, without)
    job = who.job(pair, delivery=delivery)
    names = {"t": who.topics[0], "heartbeat": who.topics[1], "control": who.control, "id": "walferry."}
    refused(job, names[what])
    nothing_made(pair, job)
    lacked = {(operation, what), *parts, ("write", what)} | ({("read", what)} if what == "control" else set())
    who.allow({(each, "id" if where == "id" else names[where]) for each, where in lacked})
    job_done = job.run("--until", "now")
    assert job_done.exit == 0, job_done.err
    delivers(pair, job, guarded, prefix, 1, 2)


def test_the_topic_of_transactions_is_looked_at_too(pair, guarded, prefix):
    who = account(guarded, prefix, pair)
    topic = guarded.create_topic(f"{prefix}.transaction")
    who.allow([("describe", topic)])
    job = who.job(pair, transactions="debezium")
    refused(job, topic)
    nothing_made(pair, job)
    who.allow([("write", topic)])
    assert job.run("--until", "now").exit == 0
    delivers(pair, job, guarded, prefix, 1, 2)
    assert len(guarded.consume(topic)) == 2


@pytest.mark.parametrize("what", ["t", "heartbeat", "control"])
def test_without_create_and_without_the_topic(pair, guarded, prefix, what):
    who = account(guarded, prefix, pair, [("create", what)], made=False)
    job = who.job(pair)
    names = {"t": who.topics[0], "heartbeat": who.topics[1], "control": who.control}
    refused(job, names[what], "Create")
    nothing_made(pair, job)
    assert not guarded.topics(prefix), "nor topics"


@pytest.mark.parametrize("operation", ["write", "describe"])
def test_beside_a_database_nothing_is_made_either(pair, guarded, prefix, operation):
    without = [("write", "t")] + ([("describe", "t")] if operation == "describe" else [])
    who = account(guarded, prefix, pair, without)
    job = who.job(pair, alone=False)
    refused(job, who.topics[0])
    nothing_made(pair, job)
    assert not pair.target.one("SELECT to_regclass('public.t') IS NOT NULL")


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_a_right_that_is_taken_away_while_the_job_runs(pair, guarded, prefix, delivery):
    who = account(guarded, prefix, pair)
    job = who.job(pair, delivery=delivery)
    assert job.run("--until", "now").exit == 0
    delivers(pair, job, guarded, prefix, 1, 2)
    job.start()
    job.wait_for("running")
    guarded.deny(who.name, "write", who.topics[0])
    pair.source.sql("INSERT INTO t VALUES (3, 'x')")
    assert job.process.wait(60) == 2, job.process.err
    assert who.topics[0] in job.process.err and "hint:" in job.process.err, job.process.err
    guarded.forget(who.name, "write", who.topics[0])
    delivers(pair, job, guarded, prefix, 4, 5)


def test_no_record_is_left_of_the_trial(pair, guarded, prefix):
    """Also for those who read what is not committed."""
    who = account(guarded, prefix, pair)
    job = who.job(pair)
    assert job.run("--until", "now").exit == 0
    assert guarded.consume(who.topics[0], "read_uncommitted") == []


# ---- logins ----


@pytest.mark.parametrize("protocol", ["sasl_plaintext", "sasl_ssl"])
def test_a_wrong_password(pair, guarded, prefix, authority, protocol):
    who = account(guarded, prefix, pair)
    encrypted = {"security.protocol": "sasl_ssl", "ssl.ca.location": str(authority.path)} if protocol == "sasl_ssl" else None
    job = who.job(pair, WRONG, encrypted, **({"brokers": f"localhost:{guarded.tls_port}"} if encrypted else {}))
    refused(job, "sasl.password")
    nothing_made(pair, job)
    found = job.call("check")
    assert found.exit == 1 and "sasl.password" in found.out, found.said
    said_nowhere(job, WRONG)


def test_a_password_that_is_changed_while_the_job_runs_is_not_said(pair, guarded, prefix):
    who = account(guarded, prefix, pair)
    job = who.job(pair)
    assert job.run("--until", "now").exit == 0
    job.rewrite({"kafka": {"config": {"sasl.password": WRONG}}})
    refused(job, "sasl.password")
    said_nowhere(job, WRONG)
    job.rewrite({"kafka": {"config": {"sasl.password": PASSWORD}}})
    delivers(pair, job, guarded, prefix, 1, 2)


def test_encrypted_with_a_login(pair, guarded, prefix, authority):
    who = account(guarded, prefix, pair)
    job = who.job(pair, config={"security.protocol": "sasl_ssl", "ssl.ca.location": str(authority.path), "debug": "all"},
                  brokers=f"localhost:{guarded.tls_port}")
    job.rewrite({"log": {"level": "debug"}})
    assert job.run("--until", "now").exit == 0
    job.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t VALUES (1, 'x')")
    guarded.wait_records(who.topics[0], 1)
    assert PASSWORD not in json.dumps(job.status())
    said_nowhere(job, PASSWORD)
    assert job.process.terminate() == 0
    said_nowhere(job, PASSWORD)


@pytest.mark.parametrize("ca", ["other", "missing", "none"])
def test_a_certificate_that_cannot_be_verified(pair, guarded, prefix, tmp_path, ca):
    who = account(guarded, prefix, pair)
    path = {"other": Authority(tmp_path, "other").path, "missing": tmp_path / "none.pem", "none": None}[ca]
    config = {"security.protocol": "sasl_ssl"} | ({"ssl.ca.location": str(path)} if path else {})
    job = who.job(pair, config=config, brokers=f"localhost:{guarded.tls_port}")
    refused(job, "ssl.ca.location")
    nothing_made(pair, job)


def test_encrypted_without_a_login(pair, make_broker, authority):
    """SSL alone, and the client has a certificate."""
    broker = make_broker(tls=authority.sign("localhost"), client_authority=authority.path)
    certificate, key = authority.sign("client")
    pair.source.sql(TABLE)
    ssl = {"security.protocol": "ssl", "ssl.ca.location": str(authority.path)}
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": f"localhost:{broker.tls_port}", "prefix": "shop", "config": ssl})
    done = job.run("--until", "now", "--wait", "2s", timeout=90)
    assert done.exit in (2, 6), done.err
    nothing_made(pair, job)
    job.rewrite({"kafka": {"config": {"ssl.certificate.location": str(certificate), "ssl.key.location": str(key)}}})
    assert job.run("--until", "now").exit == 0
    delivers(pair, job, broker, "shop", 1, 2)


# ---- what check finds ----


def found(job, item):
    report = job.call("check", "--json", "--wait", "2s").json()
    return next(each for each in report["items"] if each["name"] == item)


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_a_control_topic_that_forgets_is_found(pair, broker, topic_prefix, policy):
    pair.source.sql(TABLE)
    broker.create_topic(f"{topic_prefix}.walferry", config={"cleanup.policy": policy})
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix})
    done = job.run("--until", "now")
    assert done.exit == 2 and f"{topic_prefix}.walferry" in done.err and "cleanup.policy" in done.err, done.err
    nothing_made(pair, job)
    broker.alter_config(f"{topic_prefix}.walferry", {"cleanup.policy": "compact"})
    assert job.run("--until", "now").exit == 0


@pytest.mark.parametrize("there", [True, False])
def test_compacted_topics_and_records_without_a_key(pair, broker, topic_prefix, there):
    """What the check says is what the brokers do: they refuse such a record."""
    pair.source.sql("CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE plain (v int); ALTER TABLE plain REPLICA IDENTITY FULL")
    kafka = {"brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix}
    if there:
        for table in ("keyed", "plain"):
            broker.create_topic(f"{topic_prefix}.public.{table}", config={"cleanup.policy": "compact"})
    else:
        kafka["topics"] = {"config": {"cleanup.policy": "compact"}}
    job = pair.job(file_only=True, phases=["incremental"], kafka=kafka)
    item = found(job, "kafka-topics")
    assert item["state"] == "failed" and f"{topic_prefix}.public.plain" in item["seen"] and "TRUNCATE" in item["seen"]
    pair.source.sql("DROP TABLE plain")
    assert found(job, "kafka-topics")["state"] == "alert"
    assert job.run("--until", "now").exit == 0
    pair.source.sql("INSERT INTO keyed VALUES (1); TRUNCATE keyed")
    done = job.run("--until", "now")
    assert done.exit == 5 and "compacted" in done.err, done.err
    job.rewrite({"objects": {"dml": ["insert", "update", "delete"]}})
    assert found(job, "kafka-topics")["state"] == "passed"
    assert job.run("--until", "now").exit == 0


def test_more_replicas_than_brokers(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix, "topics": {"replication": 3}})
    done = job.run("--until", "now")
    assert done.exit == 2 and f"{topic_prefix}.walferry" in done.err and "eplication factor" in done.err, done.err
    nothing_made(pair, job)
    assert not broker.topics(topic_prefix)


@pytest.mark.parametrize("topic", ["walferry", "public.t"])
def test_more_replicas_in_sync_than_brokers(pair, broker, topic_prefix, topic):
    pair.source.sql(TABLE)
    name = broker.create_topic(f"{topic_prefix}.{topic}", config={"cleanup.policy": "compact" if topic == "walferry" else "delete",
                                                                  "min.insync.replicas": 2})
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix})
    done = job.run("--until", "now")
    assert done.exit == 2 and name in done.err and "min.insync.replicas" in done.err, done.err
    nothing_made(pair, job)


def test_a_setting_of_topics_that_brokers_do_not_know(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix, "topics": {"config": {"no.such": "1"}}})
    done = job.run("--until", "now")
    assert done.exit == 2 and "no.such" in done.err, done.err
    nothing_made(pair, job)


def test_one_replica_with_several_brokers_is_said(pair):
    """Brokers of librdkafka's own mock cluster, which each client makes for itself."""
    pair.source.sql(TABLE)
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": "127.0.0.1:1", "prefix": "shop", "topics": {"replication": 1}, "config": {"test.mock.num.brokers": 3}})
    item = found(job, "kafka")
    assert item["state"] == "alert" and "one replica" in item["seen"] and "3 brokers" in item["seen"], item
    job.rewrite({"kafka": {"topics": {"replication": 3}}})
    assert found(job, "kafka")["state"] == "passed"
