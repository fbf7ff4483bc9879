"""Avro and Protobuf as Confluent's deserializers read them, against the JSON of the same rows; and registries that are
down, slow, of another opinion, or behind a login (F91)."""
import json
from pathlib import Path

import psycopg2
import pytest

from harness.poll import poll_until
from harness.protobuf import compiled
from harness.readers import (BY_TOPIC, AvroDeserializer, MessageField, Reader, SchemaRegistryClient, SerializationContext,
                             field_name, read_json, wire_id)
from harness.tls import Authority
from harness.type_values import EXTENSIONS, LARGEST, SETUP, SMALLEST, every_kind, literal

ENVELOPES = ["debezium", "flat", "row+headers"]
PASSWORD = "open:sesame%2F"
LARGE = 20000  # characters: rows of all types are one record
# Of the envelope: when it was made; of the source block: which job has made it, and what it has sent before.
OWN = {"ts_ms", "ts_us", "ts_ns", "__ts_ms"}
OWN_SOURCE = {"name", "sequence"}


def kafka_job(pair, broker, prefix, form, name=None, **kafka):
    config = {"brokers": broker.client()["bootstrap.servers"], "prefix": prefix, "format": form} | kafka
    return pair.job(name=name, file_only=True, phases=["incremental"], kafka=config)


def run(job, exit=0, *arguments):
    done = job.run("--until", "now", *arguments)
    assert done.exit == exit, done.err
    return done


class Formats:
    """One job for each format, at the same source, all born."""

    def __init__(self, pair, broker, prefix, registry, forms=("avro", "protobuf"), **kafka):
        self.broker, self.prefix, self.registry, self.forms = broker, prefix, registry, forms
        self.jobs = [kafka_job(pair, broker, f"{prefix}.{form}", form, f"{pair.name}_{form}",
                               **({"json_schema": True} if form == "json" else {"registry": {"url": registry.url}} if registry else {}), **kafka)
                     for form in ("json", *forms)]
        self.run()

    def start(self, *arguments):
        for job in self.jobs:
            job.start(*arguments)

    def run(self):
        self.start("--until", "now")
        for job in self.jobs:
            assert job.process.wait() == 0, job.process.err

    def records(self, table, form):
        return self.broker.consume(f"{self.prefix}.{form}.{table}".removesuffix("."))

    def reader(self, form):
        return Reader(form, self.registry)

    def check(self, table):
        """Every record of every format says what the JSON says; returns what that was: [(key, value, headers)]."""
        expected = [self._said(record) for record in self.records(table, "json")]
        assert expected
        for form in self.forms:
            reader = self.reader(form)
            found = self.records(table, form)
            assert len(found) == len(expected), form
            for (key_schema, key, value_schema, value, said), record in zip(expected, found):
                there = without_own(reader.value(value_schema, record)), said_in_headers(record)
                assert (reader.key(key_schema, record) if key_schema else record.key) == key
                wanted = without_lists(value, value_schema, said, there[1]) if form == "protobuf" else (value, said)
                differ(form, table, wanted, there)
        return [(key, value, said) for _, key, _, value, said in expected]

    @staticmethod
    def _said(record):
        key_schema, key = read_json(record.key) if record.key else (None, None)
        value_schema, value = read_json(record.value) if record.value else (None, None)
        return key_schema, key, value_schema, without_own(value), said_in_headers(record)


def said_in_headers(record):
    """Text in every format, also the keys in Debezium's two headers."""
    return {name: value.decode() for name, value in record.headers}


def without_own(value):
    if value is None:
        return None
    out = {name: each for name, each in value.items() if name not in OWN}
    if isinstance(out.get("source"), dict):
        out["source"] = {name: each for name, each in out["source"].items() if name not in OWN_SOURCE}
    return out


def holds_null(value):
    return isinstance(value, list) and any(item is None or holds_null(item) for item in value)


def without_lists(value, schema, said, found):
    """Protobuf has no NULL in its lists: such a list is NULL, or empty where it is required, and its text stands in the
    header."""
    if value is None:
        return value, said
    whole = "after" in value
    fields = next(field for field in schema["fields"] if field["field"] == "after")["fields"] if whole else schema["fields"]
    instead = {field_name(field["field"]): None if field["optional"] else [] for field in fields}
    rows = {part: value[part] or {} for part in ("before", "after")} if whole else {"after": value}
    special = json.loads(said.get("walferry.special", "{}"))
    there = json.loads(found.get("walferry.special", "{}"))
    for part, row in rows.items():
        special[part] = special.get(part, {}) | {name: there.get(part, there.get("before", {})).get(name)
                                                 for name, each in row.items() if holds_null(each)}
    assert all(text for texts in special.values() for text in texts.values()), (special, there)
    special = {part: texts for part, texts in special.items() if texts}
    if "before" in there and not whole:
        special = {"before": special.get("before", {}) | special.get("after", {})}
    assert special == there
    rows = {part: {name: instead[name] if holds_null(each) else each for name, each in row.items()} or None for part, row in rows.items()}
    out = {name: text for name, text in said.items() if name != "walferry.special"}
    if there:
        out["walferry.special"] = found["walferry.special"]
    return (value | rows if whole else rows["after"]), out


def differ(form, table, wanted, found):
    if wanted == found:
        return
    def flat(prefix, value):
        if isinstance(value, dict):
            return {path: each for name, part in value.items() for path, each in flat(f"{prefix}.{name}", part).items()}
        return {prefix: value}
    one, other = flat("", wanted[0] or {}) | flat("header", wanted[1]), flat("", found[0] or {}) | flat("header", found[1])
    wrong = {path: (str(one.get(path))[:300], str(other.get(path))[:300]) for path in one.keys() | other.keys()
             if one.get(path) != other.get(path)}
    raise AssertionError(f"{form} of {table}: {wrong}")


# ---- every type ----


def accepts(cursor, statement):
    cursor.execute("SAVEPOINT probe")
    try:
        cursor.execute(statement)
        cursor.execute("RELEASE probe")
        return True
    except psycopg2.Error:
        cursor.execute("ROLLBACK TO probe")
        return False


class Wide:
    """types.wide: a column for each type; its rows are all NULL, then the values in their order; types.required: the
    same as NOT NULL, where a type has values enough."""

    def __init__(self, source):
        self.connection = source.connect(autocommit=False)
        cursor = self.connection.cursor()
        cursor.execute("CREATE SCHEMA contrib")
        there = {name for name in EXTENSIONS if accepts(cursor, f"CREATE EXTENSION {name} SCHEMA contrib")} | {"xml"}
        cursor.execute(SETUP)
        version = self.connection.server_version // 10000
        self.kinds = [kind for kind in every_kind() if kind.since <= version
                      and (not kind.needs or kind.needs in there)]
        self.values = [[literal(value, kind.name) for value in kind.values_for(version)
                        if len(value.text) < LARGE] for kind in self.kinds]
        for table, rule in (("wide", ""), ("required", " NOT NULL")):
            columns = ", ".join(f"c{number} {kind.name}{rule}" for number, kind in enumerate(self.kinds))
            cursor.execute(f"CREATE TABLE types.{table} (id int PRIMARY KEY, \"my cölumn\" int DEFAULT 7, {columns});"
                           f" ALTER TABLE types.{table} REPLICA IDENTITY FULL")
        cursor.execute("CREATE TABLE types.large (n numeric, b bytea); ALTER TABLE types.large REPLICA IDENTITY FULL")
        self.connection.commit()

    def fill(self):
        cursor = self.connection.cursor()
        cursor.execute("INSERT INTO types.wide (id) VALUES (-1)")
        for row in range(max(map(len, self.values))):
            self._insert(cursor, "wide", row, [values[row] if row < len(values) else "NULL" for values in self.values])
            self._insert(cursor, "required", row, [values[row % len(values)] for values in self.values])
        cursor.execute("UPDATE types.wide SET \"my cölumn\" = NULL; UPDATE types.required SET \"my cölumn\" = 8 WHERE id = 1;"
                       f" INSERT INTO types.large VALUES ({LARGEST}, decode(repeat('5c27', 60000), 'hex')), ({SMALLEST}, NULL);"
                       " UPDATE types.wide SET id = 1000 WHERE id = 0; DELETE FROM types.wide WHERE id = 1; TRUNCATE types.required")
        self.connection.commit()

    @staticmethod
    def _insert(cursor, table, row, values):
        cursor.execute(f"INSERT INTO types.{table} VALUES ({row}, {row}, {', '.join(values)})")


@pytest.mark.deadline(300)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_every_type_is_read_as_its_json_says(pair, broker, topic_prefix, registry, envelope):
    wide = Wide(pair.source)
    formats = Formats(pair, broker, topic_prefix, registry, envelope=envelope)
    wide.fill()
    formats.run()
    said = formats.check("types.wide")
    assert {key["id"] for key, _, _ in said if key} >= {-1, 0, 1, 5, 1000}
    keys = [json.loads(text) for _, _, found in said for name, text in found.items() if name.startswith("__debezium.")]
    assert keys == [{"id": 1000}, {"id": 1000}, {"id": 0}], "of the delete, its tombstone and the new row"
    formats.check("types.required")
    assert len(formats.check("types.large")) == 2
    seen = [value["after"] if "after" in value else value for _, value, _ in said if value]
    columns = {name for row in seen if row for name, each in row.items() if each is not None}
    known = sum(f"c{number}" in columns for number in range(len(wide.kinds)))
    assert known >= 130, f"only {known} types are in the topics"
    assert field_name("my cölumn") in columns


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_values_that_did_not_come_along(pair, broker, topic_prefix, registry, envelope):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v int, big text, raw bytea, words text[], must text NOT NULL);"
                    " ALTER TABLE t ALTER big SET STORAGE EXTERNAL, ALTER raw SET STORAGE EXTERNAL, ALTER words SET STORAGE"
                    " EXTERNAL, ALTER must SET STORAGE EXTERNAL")
    formats = Formats(pair, broker, topic_prefix, registry, envelope=envelope)
    pair.source.sql("INSERT INTO t SELECT 1, 1, repeat('a', 9000), decode(repeat('00ff', 9000), 'hex'), ARRAY[repeat('b', 9000)],"
                    " repeat('c', 9000); UPDATE t SET v = 2; UPDATE t SET big = 'short'")
    formats.run()
    said = formats.check("public.t")
    assert [json.loads(found.get("walferry.unchanged", "[]")) for _, _, found in said] == [
        [], ["big", "raw", "words", "must"], ["raw", "words", "must"]]
    row = said[1][1]["after"] if envelope == "debezium" else said[1][1]
    expected = ("__debezium_unavailable_value", b"__debezium_unavailable_value", ["__debezium_unavailable_value"])
    assert (row["big"], row["raw"], row["words"]) == (expected if envelope == "debezium" else (None, None, None))


def test_other_records_than_of_tables(pair, broker, topic_prefix, registry):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    formats = Formats(pair, broker, topic_prefix, registry)
    pair.source.sql("SELECT pg_logical_emit_message(true, 'app', 'one'), pg_logical_emit_message(true, '', '')")
    formats.run()
    said = formats.check("message")
    assert [(value["message"]["prefix"], value["message"]["content"]) for _, value, _ in said] == [("app", b"one"), ("", b"")]


def test_shapes_of_tables(pair, broker, topic_prefix, registry):
    pair.source.sql("CREATE TYPE color AS ENUM ('red', 'blue'); CREATE TABLE t (id serial PRIMARY KEY, c color, n numeric(5,2));"
                    " CREATE TABLE plain (a int[]); ALTER TABLE plain REPLICA IDENTITY FULL")
    formats = Formats(pair, broker, topic_prefix, registry, schema_changes=True)
    pair.source.sql("INSERT INTO t (c) VALUES ('red'); ALTER TABLE t DROP n; INSERT INTO t (c) VALUES ('blue'); INSERT INTO plain VALUES ('{1}')")
    formats.run()
    changes = [value["tableChanges"][0] for _, value, _ in formats.check("")]
    assert [(it["type"], it["id"]) for it in changes] == [
        ("CREATE", '"public"."t"'), ("ALTER", '"public"."t"'), ("CREATE", '"public"."plain"')]
    assert [[column["enumValues"] for column in it["table"]["columns"]] for it in changes[:2]] == [
        [None, ["red", "blue"], None], [None, ["red", "blue"]]]


# ---- schemas that change ----


def versions_of(registry, topic, part="value"):
    return [schema.id for schema in registry.subjects.get(f"{topic}-{part}", [])]


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_columns_come_and_go_while_the_job_runs(pair, broker, topic_prefix, registry, envelope):
    pair.source.sql("CREATE TABLE t (gone int, id int PRIMARY KEY, v text, w int); ALTER TABLE t DROP gone")
    formats = Formats(pair, broker, topic_prefix, registry, envelope=envelope)
    formats.start()
    for job in formats.jobs:
        job.wait_for("running")
    for change in ("INSERT INTO t VALUES (1, 'a', 1)", "ALTER TABLE t ADD COLUMN x text DEFAULT 'd'",
                   "INSERT INTO t VALUES (2, 'b', 2, 'new')", "ALTER TABLE t DROP COLUMN v",
                   "INSERT INTO t VALUES (3, 3, 'last')"):
        pair.source.sql(change)
    for job in formats.jobs:
        broker.wait_records(f"{topic_prefix}.{job.name[len(pair.name) + 1:]}.public.t", 3)
        assert job.process.terminate() == 0, job.process.err
    said = formats.check("public.t")
    rows = [value["after"] if envelope == "debezium" else value for _, value, _ in said]
    assert [[row.get(name, "-") for name in ("id", "v", "w", "x")] for row in rows] == [
        [1, "a", 1, "-"], [2, "b", 2, "new"], [3, "-", 3, "last"]]
    for form in formats.forms:
        topic = f"{topic_prefix}.{form}.public.t"
        assert [wire_id(record.value) for record in formats.records("public.t", form)] == versions_of(registry, topic)
        assert len(versions_of(registry, topic)) == 3 and len(versions_of(registry, topic, "key")) == 1
    fields = [numbers(schema.text) for schema in registry.subjects[f"{topic_prefix}.protobuf.public.t-value"]]
    columns = [{name: number for name, number in each.items() if number < 2001} for each in fields]
    assert columns == [{"id": 2, "v": 3, "w": 4}, {"id": 2, "v": 3, "w": 4, "x": 5}, {"id": 2, "w": 4, "x": 5}]


def numbers(text):
    """Of the row's fields."""
    row = next(each for each in compiled(text).message_type if each.name == "Value")
    return {field.name: field.number for field in row.field}


def test_keys_are_numbered_as_their_columns(pair, broker, topic_prefix, registry):
    pair.source.sql("CREATE TABLE t (gone int, a int, v text, b int, PRIMARY KEY (b, a)); ALTER TABLE t DROP gone")
    formats = Formats(pair, broker, topic_prefix, registry, forms=["protobuf"])
    pair.source.sql("INSERT INTO t VALUES (1, 'x', 2)")
    formats.run()
    assert formats.check("public.t")[0][0] == {"a": 1, "b": 2}
    key = compiled(registry.subjects[f"{topic_prefix}.protobuf.public.t-key"][0].text).message_type[0]
    assert [(field.name, field.number) for field in key.field] == [("b", 4), ("a", 2)]


# ---- registries (F91) ----


def avro_job(pair, broker, prefix, registry, **more):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    return kafka_job(pair, broker, prefix, "avro", registry={"url": registry.url} | more)


def rows_there(broker, prefix, registry, **login):
    """All ids of rows, each read with a schema that stands under its subject."""
    records = broker.consume(f"{prefix}.public.t")
    known = {part: set(versions_of(registry, f"{prefix}.public.t", part)) for part in ("key", "value")}
    client = SchemaRegistryClient({"url": registry.url} | login)
    reader = AvroDeserializer(client, conf=BY_TOPIC)
    for record in records:
        assert wire_id(record.key) in known["key"] and wire_id(record.value) in known["value"]
    return [reader(record.key, SerializationContext(record.topic, MessageField.KEY))["id"] for record in records]


def no_slot(pair, job):
    slots = pair.source.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE %s", [f"{job.slot}%"])
    publications = pair.source.one("SELECT count(*) FROM pg_publication WHERE pubname LIKE %s", [f"{job.slot}%"])
    assert (slots, publications) == (0, 0)


def said_nowhere(job, secret):
    """No output of the job's processes, nothing that it has left in its folder, no command line."""
    for path in job.directory.rglob("*"):
        if path.is_file() and path != job.file:
            assert secret not in path.read_text(errors="replace"), path
    for process in job.processes:
        if process.alive():
            assert secret.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def test_a_registry_that_is_down_at_the_start(pair, broker, topic_prefix, registry):
    job = avro_job(pair, broker, topic_prefix, registry)
    registry.down()
    try:
        done = run(job, 6, "--wait", "2s")
        assert "schema registry" in done.err and registry.url in done.err, done.err
        no_slot(pair, job)
    finally:
        registry.up()
    run(job)


def test_a_registry_that_is_down_for_a_while(pair, broker, topic_prefix, registry):
    job = avro_job(pair, broker, topic_prefix, registry)
    run(job)
    job.start()
    job.wait_for("running")
    registry.down()
    try:
        pair.source.sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10) i")
        poll_until(lambda: "trying again" in job.process.err, "it is tried again", 60)
        assert job.process.alive() and registry.url in job.process.err
    finally:
        registry.up()
    broker.wait_records(f"{topic_prefix}.public.t", 10)
    assert job.process.terminate() == 0, job.process.err
    assert rows_there(broker, topic_prefix, registry) == list(range(1, 11))


def test_a_registry_that_answers_late_and_with_errors(pair, broker, topic_prefix, registry):
    job = avro_job(pair, broker, topic_prefix, registry)
    run(job)
    pair.source.sql("INSERT INTO t VALUES (1, 'x')")
    registry.slow(0.3)
    registry.fail(2, 503)
    run(job)
    registry.slow(0)
    assert rows_there(broker, topic_prefix, registry) == [1]


def test_a_registry_that_stays_broken(pair, broker, topic_prefix, registry):
    job = avro_job(pair, broker, topic_prefix, registry)
    run(job)
    job.rewrite({"retry": {"connection": "1s", "other": "1s"}})
    pair.source.sql("INSERT INTO t VALUES (1, 'x')")
    job.start(fault=None)
    job.wait_for("running")
    pair.source.sql("ALTER TABLE t ADD n int; INSERT INTO t VALUES (2, 'x', 2)")
    registry.fail(10000, 500)
    pair.source.sql("ALTER TABLE t ADD m int; INSERT INTO t VALUES (3, 'x', 2, 3)")
    assert job.process.wait(60) == 6, job.process.err
    assert "Error in the backend data store" in job.process.err
    registry.fail(0)
    run(job)
    assert rows_there(broker, topic_prefix, registry) == [1, 2, 3]


@pytest.mark.parametrize("part", ["key", "value"])
def test_a_schema_that_is_refused_as_incompatible(pair, broker, topic_prefix, registry, part):
    job = avro_job(pair, broker, topic_prefix, registry)
    run(job)
    pair.source.sql("INSERT INTO t VALUES (1, 'x')")
    run(job)
    registry.refuse(f"{topic_prefix}.public.t-{part}", "reader's opinion")
    pair.source.sql("ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t VALUES (2, 'x')")
    for _ in range(2):
        done = run(job, 5)
        assert "reader's opinion" in done.err and f"{topic_prefix}.public.t-{part}" in done.err and "hint" in done.err, done.err
        assert rows_there(broker, topic_prefix, registry) == [1]
    registry.refuse(f"{topic_prefix}.public.t-{part}", None)
    run(job)
    assert rows_there(broker, topic_prefix, registry) == [1, 2]


def test_a_wrong_password_makes_nothing(pair, broker, topic_prefix, make_registry):
    registry = make_registry(users={"writer": "right"})
    job = avro_job(pair, broker, topic_prefix, registry, user="writer", password=PASSWORD)
    done = run(job, 2)
    assert "refuses the login: Unauthorized" in done.err and "kafka.registry.password" in done.err, done.err
    no_slot(pair, job)
    found = job.call("check")
    assert found.exit == 1 and "kafka-registry" in found.out, found.said
    said_nowhere(job, PASSWORD)


def test_a_password_that_is_changed_while_the_job_runs(pair, broker, topic_prefix, make_registry):
    registry = make_registry(users={"writer": PASSWORD})
    job = avro_job(pair, broker, topic_prefix, registry, user="writer", password=PASSWORD)
    run(job)
    job.start()
    job.wait_for("running")
    registry.users = {"writer": "other"}
    pair.source.sql("INSERT INTO t VALUES (1, 'x')")
    assert job.process.wait(60) == 2, job.process.err
    assert "refuses the login" in job.process.err
    registry.users = {"writer": PASSWORD}
    run(job)
    assert rows_there(broker, topic_prefix, registry, **{"basic.auth.user.info": f"writer:{PASSWORD}"}) == [1]
    said_nowhere(job, PASSWORD)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.mark.parametrize("way", ["options", "address", "second"])
def test_encrypted_with_a_login(pair, broker, topic_prefix, make_registry, authority, way):
    """By the options, in the address, and at the second of two addresses, of which the first answers nobody."""
    registry = make_registry(users={"writer": PASSWORD}, tls=authority.sign("localhost"))
    job = avro_job(pair, broker, topic_prefix, registry, ca=str(authority.path))
    login = {"user": "writer", "password": PASSWORD}
    quoted = PASSWORD.replace("%", "%25").replace(":", "%3A")
    url = {"options": registry.url, "address": registry.url.replace("//", f"//writer:{quoted}@"),
           "second": f"https://127.0.0.1:1/, {registry.url}/"}[way]
    job.rewrite({"kafka": {"registry": {"url": url} | ({} if way == "address" else login)}})
    run(job)
    job.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t VALUES (1, 'x')")
    broker.wait_records(f"{topic_prefix}.public.t", 1)
    said_nowhere(job, PASSWORD)
    assert PASSWORD not in json.dumps(job.status())
    assert job.process.terminate() == 0
    assert rows_there(broker, topic_prefix, registry, **{
        "basic.auth.user.info": f"writer:{PASSWORD}", "ssl.ca.location": str(authority.path)}) == [1]
    said_nowhere(job, PASSWORD)
    said_nowhere(job, quoted)


@pytest.mark.parametrize("ca", [None, "other", "missing"])
def test_a_certificate_that_cannot_be_verified(pair, broker, topic_prefix, make_registry, authority, tmp_path, ca):
    registry = make_registry(users={"writer": PASSWORD}, tls=authority.sign("localhost"))
    files = {None: None, "other": str(Authority(tmp_path, "other").path), "missing": str(tmp_path / "none.pem")}
    job = avro_job(pair, broker, topic_prefix, registry, user="writer", password=PASSWORD, ca=files[ca])
    if ca is None:
        job.rewrite({"kafka": {"registry": {"ca": None}}})
    done = run(job, 2)
    assert "certificate" in done.err and registry.url in done.err and not registry.requests, done.err
    no_slot(pair, job)
    said_nowhere(job, PASSWORD)
