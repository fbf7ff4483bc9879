"""walferry compat: the records under two prefixes. With the real connector's: test_same_as_debezium.py."""
import json
import os
import pty
import subprocess
import threading

import pytest

from harness.place import clean_environment, walferry_binary
from harness.topics import CLIENT
from test_confluent import kafka_job, run


class Sides:
    """Two prefixes at one broker, and a job that writes under the first."""

    def __init__(self, pair, broker, prefix):
        self.broker, self.ours, self.theirs = broker, prefix, f"{prefix}.old"  # the one begins with the other
        self.job = pair.job(file_only=True, kafka={"brokers": broker.client()["bootstrap.servers"], "prefix": prefix})
        self.producer = broker.producer({"partitioner": "murmur2_random"})

    def create(self, name, ours=1, theirs=1):
        self.broker.create_topic(f"{self.ours}.{name}", ours)
        self.broker.create_topic(f"{self.theirs}.{name}", theirs)

    def put(self, prefix, name, records, producer=None):
        """records: (key, value) as Python's objects; None: none."""
        for key, value in records:
            (producer or self.producer).produce(f"{prefix}.{name}", text(value), text(key))
        (producer or self.producer).flush(20)

    def compat(self, *arguments, with_=None):
        return self.job.call("compat", "--with", with_ or self.theirs, *arguments)

    def topics(self, *arguments):
        done = self.compat("--json", "--all", 100, *arguments)
        assert done.exit in (0, 1), done.err
        said = done.json()
        assert done.exit == (0 if said["equal"] else 1)
        return {topic["topic"]: topic for topic in said["topics"]}


@pytest.fixture
def sides(pair, broker, topic_prefix):
    return Sides(pair, broker, topic_prefix)


def text(value):
    return value if value is None or isinstance(value, bytes) else json.dumps(value)


def event(id, lsn, name, op="c", **more):
    row = {"id": id, "price": "1.50"} | more
    return {"before": None, "after": None if op == "d" else row, "op": op, "ts_ms": hash(name) % 1000,
            "source": {"version": f"of {name}", "name": name, "ts_ms": lsn, "lsn": lsn, "txId": lsn, "snapshot": "false"}}


def events(name, count=300):
    """Of each row its birth, a change, its end; the same of both."""
    out = []
    for id in range(count):
        out += [({"id": id}, event(id, 10 * id + 1, name)), ({"id": id}, event(id, 10 * id + 2, name, "u", price="2"))]
        out += [({"id": id}, event(id, 10 * id + 3, name, "d")), ({"id": id}, None)] if id % 3 == 0 else []
    return out


@pytest.mark.asan
def test_equal_across_partitions(sides):
    sides.create("public.t", 1, 3)
    sides.put(sides.ours, "public.t", events("ours"))
    sides.put(sides.theirs, "public.t", events("theirs"))
    sides.put(sides.ours, "public.t", [(None, event(1, 5, "ours"))])
    sides.put(sides.theirs, "public.t", [(None, event(1, 5, "theirs")), (None, None)])
    sides.broker.create_topic(f"{sides.ours}.public.empty")  # a job makes all of its topics
    sides.broker.create_topic(f"{sides.ours}.walferry")
    sides.put(sides.ours, "walferry", [({"job": "x"}, {})])
    done = sides.compat()
    assert done.exit == 0, done.said
    assert f"public.t: 801 records of {sides.ours}, 801 of {sides.theirs}: equal" in done.out
    assert "2 topics" in done.out.splitlines()[-1] and "walferry:" not in done.out


def test_on_a_terminal(sides):
    """One line that is drawn over itself, and gone where something else is said."""
    sides.create("public.t")
    sides.put(sides.ours, "public.t", events("ours", 2000))
    sides.put(sides.theirs, "public.t", events("theirs", 2000))
    terminal, slave = pty.openpty()
    command = [str(walferry_binary()), "compat", str(sides.job.file), "--with", sides.theirs]
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env=clean_environment(TERM="xterm"))
    os.close(slave)
    said = b""
    while True:
        try:
            said += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    assert process.wait(30) == 0, said
    last = [line.rsplit("\r\x1b[K", 1)[-1] for line in said.decode().replace("\r\n", "\n").split("\n") if line]
    assert "\r\x1b[Ktopic 1 of 1: public.t, " in said.decode()
    assert [line.split(" ")[0] for line in last] == ["public.t:", "1"], last


def test_changed_missing_additional(sides):
    sides.create("public.t", 2, 1)
    ours, theirs = events("ours"), events("theirs")
    theirs[7] = ({"id": 2}, event(2, 22, "theirs", "u", price=2))  # was "2"
    del theirs[20]
    ours.insert(500, ({"id": 1000}, event(1000, 10_000, "ours")))
    ours.append(({"id": 0}, None))
    sides.put(sides.ours, "public.t", ours)
    sides.put(sides.theirs, "public.t", theirs)
    sides.broker.create_topic(f"{sides.theirs}.public.more")
    sides.put(sides.theirs, "public.more", [(1, 1)])
    topics = sides.topics()
    topic = topics["public.t"]
    assert (topic["differing"], topic["ours"]["alone"], topic["theirs"]["alone"]) == (1, 3, 0)
    assert topics["public.more"]["missing"] == "ours"
    changed = [each for each in topic["differences"] if each["path"]]
    assert len(changed) == 1 and changed[0]["path"] == "value.after.price" and changed[0]["key"] == '{"id":2}'
    assert (changed[0]["ours"]["value"], changed[0]["theirs"]["value"]) == ('"2"', "2")
    found = {(record.partition, record.offset): record for record in sides.broker.consume(f"{sides.ours}.public.t")}
    assert json.loads(found[tuple(changed[0]["ours"]["at"].values())].value)["source"]["lsn"] == 22
    assert changed[0]["theirs"]["at"] == {"partition": 0, "offset": 7}
    alone = sorted((json.loads(each["key"])["id"], each["theirs"]["at"]) for each in topic["differences"] if not each["path"])
    lost = events("theirs")[20][0]["id"]
    assert alone == [(0, None), (lost, None), (1000, None)]
    # the first one only, for people
    done = sides.compat("--topics", "public.t")
    assert done.exit == 1 and "1 differ, 3 only in" in done.out and "and 3 more differences: --all" in done.out, done.out
    assert done.out.count("    key ") == 1 and "public.more" not in done.out


def test_what_ends_a_topic(sides):
    """Marks of transactions at the end, transactions that are open, and writers that never stop."""
    sides.create("public.t")
    sides.put(sides.ours, "public.t", events("ours"))
    writer = sides.broker.producer({"transactional.id": f"{sides.ours}.writer"})
    writer.init_transactions(20)
    writer.begin_transaction()
    sides.put(sides.theirs, "public.t", events("theirs"), writer)
    writer.commit_transaction(20)
    writer.begin_transaction()
    sides.put(sides.theirs, "public.t", [(5, 5)], writer)
    writer.abort_transaction(20)
    assert sides.topics()["public.t"]["equal"]
    writer.begin_transaction()
    sides.put(sides.theirs, "public.t", [(6, 6)], writer)
    sides.put(sides.theirs, "public.t", [(7, 7)])
    assert sides.topics()["public.t"]["equal"], "an open transaction is behind the end"
    writer.abort_transaction(20)
    stop = threading.Event()

    def write():
        busy = sides.broker.producer(CLIENT)
        while not stop.is_set():
            sides.put(sides.ours, "public.t", [(7, 7)] * 20, busy)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        said = sides.topics()["public.t"]
    finally:
        stop.set()
        thread.join()
    assert said["differing"] == 0 and said["theirs"]["alone"] in (0, 1) and said["theirs"]["records"] == 801, said


def test_records_that_are_gone(sides):
    sides.create("public.t")
    sides.put(sides.ours, "public.t", events("ours", 3))
    sides.put(sides.theirs, "public.t", events("theirs", 3))
    from confluent_kafka import TopicPartition
    for future in sides.broker.admin.delete_records([TopicPartition(f"{sides.theirs}.public.t", 0, 2)]).values():
        future.result(20)
    done = sides.compat()
    assert done.exit == 1 and f"first records of {sides.theirs} are not there any more" in done.out, done.said
    assert f"2 only in {sides.ours}" in done.out


def test_what_is_refused(sides, pair):
    sides.create("public.t")
    sides.put(sides.ours, "public.t", [(None, b"\0\0\0\0\1x")])
    sides.put(sides.theirs, "public.t", [(None, {"a": 1})])
    for arguments, with_, why in [([], None, "and the job names none"), ([], "nobody", 'no topics "nobody.*"'),
                                  ([], sides.ours, "own prefix"), (["--topics", "public.u"], None, 'neither prefix has a topic "public.u"')]:
        done = sides.compat(*arguments, with_=with_)
        assert done.exit == 2 and why in done.err, done.said
    number = sides.compat("--all", "0")
    assert number.exit == 2 and "is not a number" in number.err
    alone = sides.job.call("compat")
    assert alone.exit == 2 and "needs --with" in alone.err
    without = pair.job(file_only=True, file={"path": "x"}).call("compat", "--with", "x")
    assert without.exit == 2 and "kafka.brokers" in without.err, without.said


# ---- Avro and Protobuf ----

TABLES = ["public.t", "public.tagged"]


class Jobs:
    """Two jobs that write the same source in one form, under two prefixes."""

    def __init__(self, pair, broker, prefix, registry=None, form="avro", controls=(), **kafka):
        self.broker, self.prefixes, self.registry = broker, [f"{prefix}.ours", f"{prefix}.theirs"], registry
        pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, price numeric(10,2), f real, b bytea, ts timestamptz, tags text[]);"
                        " CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE tagged (m mood, v text);"
                        " ALTER TABLE tagged REPLICA IDENTITY FULL")
        self.source = pair.source
        named = {"registry": {"url": registry.url}} if registry else {}
        self.jobs = [kafka_job(pair, broker, each, form, f"{pair.name}_{side}", **named, **kafka,
                               **({"control": controls[side]} if controls else {}))
                     for side, each in enumerate(self.prefixes)]
        self.run()

    def run(self):
        for job in self.jobs:
            run(job)

    def fill(self):
        self.source.sql("INSERT INTO t SELECT i, i + 0.25, i / 7.0, decode('00ff', 'hex'), '2024-02-29', ARRAY['a', NULL]"
                        " FROM generate_series(1, 200) i; UPDATE t SET f = 'NaN' WHERE id = 7; DELETE FROM t WHERE id = 8;"
                        " INSERT INTO tagged VALUES ('ok', NULL), (NULL, 'x')")
        self.run()

    def again(self, topic, change):
        """Writes the last record of theirs once more, changed; the same of ours as it is."""
        producer = self.broker.producer()
        for prefix, function in zip(self.prefixes, (lambda body: body, change)):
            last = [record for record in self.broker.consume(f"{prefix}.{topic}") if record.value][-1]
            producer.produce(f"{prefix}.{topic}", function(last.value), last.key, last.partition)
        assert producer.flush(20) == 0

    def compat(self, *arguments):
        done = self.jobs[0].call("compat", "--json", "--all", 100, "--with", self.prefixes[1], *arguments)
        assert done.exit in (0, 1), done.said
        return {topic["topic"]: topic for topic in done.json()["topics"]}

    def assert_equal(self, *arguments):
        topics = self.compat(*arguments)
        for name, topic in topics.items():
            assert topic["equal"], (name, topic)
        assert [topics[name]["ours"]["records"] for name in TABLES] == [203, 2]
        assert topics["public.t"]["fields"] > 203 * 10


@pytest.mark.asan
@pytest.mark.deadline(300)
@pytest.mark.parametrize("form, envelope", [("avro", "debezium"), ("avro", "flat"), ("protobuf", "debezium")])
def test_schemas_of_a_registry(pair, broker, topic_prefix, registry, form, envelope):
    jobs = Jobs(pair, broker, topic_prefix, registry, form, envelope=envelope)
    jobs.fill()
    jobs.assert_equal()
    asked = [request.path for request in registry.requests if request.path.startswith("/schemas/ids/")]
    assert asked and len(asked) == len(set(asked)), "each id once"
    # another schema says the same
    jobs.source.sql("ALTER TABLE t ADD COLUMN w int")
    jobs.source.sql("INSERT INTO t (id, price, w) VALUES (1000, 77.75, 5)")
    jobs.run()
    assert all(topic["equal"] for topic in jobs.compat().values())
    length = bytes([4 if form == "avro" else 2])
    jobs.again("public.t", lambda body: body.replace(length + (7775).to_bytes(2, "big"), length + (7776).to_bytes(2, "big")))
    topics = jobs.compat()
    path = "value.after.price" if envelope == "debezium" else "value.price"
    found = topics["public.t"]["differences"]
    assert [(each["key"], each["path"], each["ours"]["value"], each["theirs"]["value"]) for each in found] == [
        ('{"id":1000}', path, '"Hl8="', '"HmA="')]
    assert topics["public.tagged"]["equal"]


@pytest.mark.deadline(300)
def test_avro_without_a_registry(pair, broker, topic_prefix):
    jobs = Jobs(pair, broker, topic_prefix)
    jobs.fill()
    jobs.assert_equal()
    jobs.again("public.tagged", lambda body: body.replace(b"\2x", b"\2y"))
    found = jobs.compat()["public.tagged"]["differences"]
    assert [(each["path"], each["ours"]["value"], each["theirs"]["value"]) for each in found] == [("value.after.v", '"x"', '"y"')]


@pytest.mark.deadline(300)
def test_avro_and_another_control_topic(pair, broker, topic_prefix):
    controls = [f"{topic_prefix}.a", f"{topic_prefix}.theirs.b"]
    jobs = Jobs(pair, broker, topic_prefix, controls=controls)
    jobs.fill()
    done = jobs.jobs[0].call("compat", "--with", jobs.prefixes[1], "--topics", "public.t")
    assert done.exit == 2 and f'is neither in topic "{controls[0]}" nor in "{jobs.prefixes[1]}.walferry"' in done.err, done.said
    assert "--with-control" in done.err
    jobs.assert_equal("--with-control", controls[1])
    assert "b" not in jobs.compat("--with-control", controls[1])


@pytest.mark.deadline(300)
def test_each_record_says_its_form(sides, registry):
    sides.job.rewrite({"kafka": {"registry": {"url": registry.url}}})
    row = {"type": "record", "name": "Row", "fields": [{"name": "id", "type": "int"}, {"name": "v", "type": ["null", "string"]}]}
    message = 'syntax = "proto3"; message M { int32 id = 1; optional string v = 2; }'
    avro, proto, imported = (registry.register(*each) for each in [
        ("a", json.dumps(row)), ("b", message, "PROTOBUF"),
        ("d", message + 'import "o.proto";', "PROTOBUF", [{"name": "o.proto", "subject": "o", "version": 1}])])
    plain = registry.register("c", "{}", "JSON")

    def body(id, rest):
        return b"\0" + id.to_bytes(4, "big") + rest
    good = body(avro, b"\2\2\2x")
    for number, (bytes_, exit, why) in enumerate([
            (good, 0, ""), (body(plain, b'{"v": "x", "id": 1}'), 0, ""), ({"id": 1, "v": "x"}, 0, ""),
            (body(avro, b"\2\2\4xy"), 1, "value.v"), (body(proto, b"\0\x08\1\x12\1x"), 0, ""),
            (body(proto, b"\2\0\x08\1"), 1, "value.v"), (body(proto, b"\0\x1a\0"), 5, "a field is not in its schema"),
            (body(imported, b"\0"), 2, "refers to others"),
            (body(99, b""), 2, "knows no schema 99"), (good[:-1], 5, "a length goes beyond the end (byte 3 of 3)"),
            (good + b"x", 5, "goes on behind its end"), (body(avro, b"\2\6x"), 5, "a union has no such branch"),
            (body(plain, b"{"), 5, "the bytes are not JSON"), (b"\0\0", 5, "name no schema"), (b"\xc3\1abc", 5, "name no schema"),
            (b"\xc3\1abcdefgh", 2, "is neither in topic")]):
        topic = f"t{number}"
        sides.create(topic)
        sides.put(sides.ours, topic, [({"id": 1}, good)])
        sides.put(sides.theirs, topic, [({"id": 1}, bytes_)])
        done = sides.compat("--topics", topic)
        assert done.exit == exit and why in done.said, (number, done.said)
        if exit > 1:
            assert f'topic "{sides.theirs}.{topic}": partition 0, offset 0: the value: ' in done.err
            assert len(done.err.splitlines()) <= 2, done.err


def test_memory_is_bounded(sides):
    """Each side has what the other has not: nothing finds its partner."""
    sides.create("public.t")
    for prefix in (sides.ours, sides.theirs):
        sides.put(prefix, "public.t", [({"id": f"{prefix} {id}"}, {"v": "x" * 1000}) for id in range(12_000)])
    done = sides.compat("--set", "memory=16MiB")
    assert done.exit == 2 and "wait for their partners, such as the one with key" in done.err, done.said
    assert sides.compat().exit == 1
    # nobody waits for a side that has nothing
    sides.create("public.u")
    sides.put(sides.theirs, "public.u", [({"id": id}, {"v": "x" * 1000}) for id in range(12_000)])
    done = sides.compat("--set", "memory=16MiB", "--topics", "public.u")
    assert done.exit == 1 and f"12000 only in {sides.theirs}" in done.out, done.said
