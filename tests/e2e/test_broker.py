"""The Kafka side of the harness: the broker, the registry and Debezium are real enough, and can be broken."""
import json
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from harness.poll import NotInTime, poll_until
from harness.tls import Authority
from harness.topics import KafkaError, KafkaException, Record

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext


def values(records):
    return [record.value.decode() for record in records]


def transaction(producer, topic, texts):
    """Begun and delivered; how it ends is the caller's."""
    producer.begin_transaction()
    for text in texts:
        producer.produce(topic, text)
    assert producer.flush(20) == 0


# ---- the broker ----

def test_records_come_back_as_they_went(broker, topic_prefix):
    topic = broker.create_topic(f"{topic_prefix}.a", partitions=3)
    headers = [("walferry.lsn", b"0/16B3748"), ("none", None), ("walferry.lsn", b"twice")]
    broker.produce(topic, b"\x00value", key=b"\xffkey", headers=headers, partition=2)
    broker.produce(topic, None, key=b"tombstone", partition=1)
    before = time.time() * 1000
    first, second = broker.consume(topic)
    assert first == Record(topic, 1, 0, b"tombstone", None, [], first.timestamp)
    assert second == Record(topic, 2, 0, b"\xffkey", b"\x00value", headers, second.timestamp)
    assert abs(before - first.timestamp) < 60000
    assert [(part.number, part.low, part.high, part.isrs) for part in broker.partitions(topic)] == [
        (0, 0, 0, [1]), (1, 0, 1, [1]), (2, 0, 1, [1])]


def test_aborted_and_open_transactions_are_hidden_from_read_committed(broker, topic_prefix):
    topic = broker.create_topic(f"{topic_prefix}.a")
    producer = broker.producer({"transactional.id": topic_prefix})
    producer.init_transactions(20)
    transaction(producer, topic, ["one", "two"])
    producer.commit_transaction(20)
    transaction(producer, topic, ["aborted"])
    producer.abort_transaction(20)
    broker.produce(topic, "plain")
    assert values(broker.consume(topic)) == ["one", "two", "plain"]
    transaction(producer, topic, ["open"])
    broker.produce(topic, "behind the open one")
    assert values(broker.consume(topic, settle=0.5)) == ["one", "two", "plain"]
    everything = ["one", "two", "aborted", "plain", "open", "behind the open one"]
    assert values(broker.consume(topic, "read_uncommitted")) == everything
    producer.commit_transaction(20)
    assert values(broker.consume(topic)) == ["one", "two", "plain", "open", "behind the open one"]


def test_topics_are_made_altered_and_deleted_but_not_by_themselves(broker, topic_prefix):
    one = broker.create_topic(f"{topic_prefix}.one", partitions=2, config={"cleanup.policy": "compact"})
    assert broker.config(one)["cleanup.policy"] == "compact"
    broker.alter_config(one, {"cleanup.policy": None, "max.message.bytes": 5000})
    assert (broker.config(one)["cleanup.policy"], broker.config(one)["max.message.bytes"]) == ("delete", "5000")
    with pytest.raises(KafkaException) as refused:
        broker.produce(one, b"x" * 6000)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    with pytest.raises(KafkaException) as refused:
        broker.produce(f"{topic_prefix}.two", "x", config={"message.timeout.ms": 3000})
    assert refused.value.args[0].code() in (KafkaError._UNKNOWN_TOPIC, KafkaError._MSG_TIMED_OUT)
    assert broker.topics(topic_prefix) == {one}
    broker.delete_topic(one)
    assert broker.topics(topic_prefix) == set() and broker.partitions(one) == []


def test_limits_and_folders_of_a_broker_of_ones_own(make_broker):
    broker = make_broker(auto_create=True, message_max_bytes=3000, log_dirs=2, properties={"num.partitions": 4})
    broker.produce("by-itself", "x")
    assert len(broker.led("by-itself")) == 4
    with pytest.raises(KafkaException) as refused:
        broker.produce("by-itself", b"x" * 4000)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert [len(list(path.glob("by-itself-*"))) for path in broker.log_dirs] == [2, 2]
    assert broker.config("1", "broker")["message.max.bytes"] == "3000"


def test_what_was_acknowledged_outlives_kill_and_restart(make_broker):
    broker = make_broker()
    broker.create_topic("t")
    producer = broker.producer({"transactional.id": "x"})
    producer.init_transactions(20)
    transaction(producer, "t", ["committed"])
    producer.commit_transaction(20)
    transaction(producer, "t", ["cut off"])
    port, log = broker.port, broker.java.log_position()
    broker.kill()
    assert not broker.alive()
    with pytest.raises(KafkaException):
        broker.producer().list_topics(timeout=1)
    broker.start()
    assert broker.port == port and "Recovering unflushed segment" in broker.log(log)
    assert values(broker.consume("t")) == ["committed"]
    assert values(broker.consume("t", "read_uncommitted")) == ["committed", "cut off"]
    heir = broker.producer({"transactional.id": "x"})
    heir.init_transactions(20)
    broker.produce("t", "after")
    assert broker.restart() is broker
    assert values(broker.consume("t")) == ["committed", "after"]


def test_a_paused_broker_says_nothing_and_goes_on(make_broker):
    broker = make_broker()
    broker.create_topic("t")
    broker.pause()
    delivered = []
    producer = broker.producer({"message.timeout.ms": 60000})
    producer.produce("t", "patience", on_delivery=lambda error, _: delivered.append(error))
    assert producer.flush(2) == 1 and broker.alive()
    broker.resume()
    assert producer.flush(30) == 0 and delivered == [None]
    assert values(broker.consume("t")) == ["patience"]


def test_users_may_only_what_was_allowed(make_broker):
    broker = make_broker(users={"admin": "a", "alice": "secret"})
    for name in ("mine.a", "other"):
        broker.create_topic(name)
    broker.allow("alice", "write", "mine.", prefixed=True)
    poll_until(lambda: _produced(broker, "mine.a", "alice"), "alice may write")
    with pytest.raises(KafkaException) as refused:
        broker.produce("other", "no", user="alice", config={"message.timeout.ms": 5000})
    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    broker.produce("other", "yes", user="admin")
    assert values(broker.consume(["mine.a", "other"])) == ["yes", "yes"]
    with pytest.raises(KafkaException) as refused:
        broker.producer({"transactional.id": "x"}, user="alice").init_transactions(10)
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    broker.deny("alice", "write", "mine.a")
    poll_until(lambda: not _produced(broker, "mine.a", "alice"), "alice may no longer write")
    broker.users["alice"] = "wrong"
    with pytest.raises(KafkaException):
        broker.producer(user="alice").list_topics(timeout=3)


def _produced(broker, topic, user):
    try:
        broker.produce(topic, "yes", user=user, config={"message.timeout.ms": 5000})
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        return False
    return True


@pytest.mark.parametrize("users", [None, {"alice": "secret"}], ids=["anyone", "users"])
def test_tls_is_for_who_trusts_its_authority(make_broker, tmp_path, users):
    ours, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "stranger")
    broker = make_broker(tls=ours.sign("localhost"), users=users)
    broker.create_topic("t")
    user = "alice" if users else None
    if users:
        broker.allow("alice", "write", "t")
    poll_until(lambda: _produced_over_tls(broker, user, ours), "produced")
    assert values(broker.consume("t")) == ["encrypted"]
    with pytest.raises(KafkaException):
        broker.producer(user=user, authority=stranger.path).list_topics(timeout=2)


def _produced_over_tls(broker, user, authority):
    try:
        broker.produce("t", "encrypted", user=user, authority=authority.path, config={"message.timeout.ms": 5000})
        return True
    except KafkaException:
        return False


def test_clients_with_certificates_only(make_broker, tmp_path):
    ours = Authority(tmp_path, "ours")
    broker = make_broker(tls=ours.sign("localhost"), client_authority=ours.path)
    certificate, key = ours.sign("walferry")
    with pytest.raises(KafkaException):
        broker.producer(authority=ours.path).list_topics(timeout=2)
    known = {"ssl.certificate.location": str(certificate), "ssl.key.location": str(key)}
    assert broker.producer(known, authority=ours.path).list_topics(timeout=20).brokers


def test_waiting_for_records_ends_when_they_are_there_or_never_come(broker, topic_prefix):
    topic = f"{topic_prefix}.a"
    with pytest.raises(NotInTime, match="1 records"):
        broker.wait_records(topic, 1, timeout=0.5)
    broker.create_topic(topic)
    later = threading.Timer(0.5, lambda: [broker.produce(topic, f"{number}") for number in range(3)])
    later.start()
    assert values(broker.wait_records(topic, 3)) == ["0", "1", "2"]
    later.join()


def test_kcat_reads_the_same(broker, topic_prefix):
    topic = broker.create_topic(f"{topic_prefix}.a")
    broker.produce(topic, "value", key="key", headers=[("h", b"1")])
    command = ["kcat", "-C", "-b", f"127.0.0.1:{broker.port}", "-t", topic, "-e", "-q", "-f", "%k|%s|%h\n"]
    read = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert read.stdout == "key|value|h=1\n"


# ---- the registry ----

RECORD = {"type": "record", "name": "Value", "namespace": "p.s.t",
          "fields": [{"name": "id", "type": "int"}, {"name": "v", "type": ["null", "string"], "default": None}]}


def asked(registry, method, path, body=None, headers=None, raw=None):
    """(status, answer)"""
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(registry.url + path, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def avro(record=None):
    return {"schema": json.dumps(record or RECORD)}


def test_confluents_client_and_deserializer_work_through_the_registry(registry):
    client = SchemaRegistryClient({"url": registry.url})
    value = {"id": 7, "v": "seven"}
    context = SerializationContext("t", MessageField.VALUE)
    coded = AvroSerializer(client, json.dumps(RECORD))(value, context)
    assert coded[:5] == struct.pack(">bI", 0, 1) and list(registry.subjects) == ["t-value"]
    fresh = SchemaRegistryClient({"url": registry.url})
    assert AvroDeserializer(fresh)(coded, context) == value
    assert json.loads(fresh.get_latest_version("t-value").schema.schema_str) == RECORD
    assert fresh.lookup_schema("t-value", Schema(json.dumps(RECORD), "AVRO")).schema_id == 1
    with pytest.raises(SchemaRegistryError) as missing:
        fresh.get_schema(99)
    assert (missing.value.http_status_code, missing.value.error_code) == (404, 40403)


def test_schemas_have_ids_and_subjects_have_versions(registry):
    other = RECORD | {"doc": "another"}
    assert asked(registry, "POST", "/subjects/a%2Fb-value/versions", avro()) == (200, {"id": 1})
    assert asked(registry, "POST", "/subjects/c-value/versions", avro()) == (200, {"id": 1})
    assert asked(registry, "POST", "/subjects/c-value/versions", avro(other)) == (200, {"id": 2})
    assert asked(registry, "POST", "/subjects/c-value/versions", avro()) == (200, {"id": 1}), "registered again"
    proto = {"schema": 'syntax = "proto3"; message Key { int32 id = 1; }', "schemaType": "PROTOBUF"}
    assert asked(registry, "POST", "/subjects/p-key/versions", proto) == (200, {"id": 3})
    assert asked(registry, "GET", "/schemas/ids/3") == (200, proto)
    assert asked(registry, "GET", "/schemas/ids/2?subject=c-value") == (200, avro(other))
    assert asked(registry, "GET", "/subjects") == (200, ["a/b-value", "c-value", "p-key"])
    assert asked(registry, "GET", "/subjects/c-value/versions") == (200, [1, 2])
    latest = {"subject": "c-value", "version": 2, "id": 2} | avro(other)
    assert asked(registry, "GET", "/subjects/c-value/versions/latest") == (200, latest)
    assert asked(registry, "POST", "/subjects/c-value", avro(other)) == (200, latest)
    assert asked(registry, "POST", "/compatibility/subjects/c-value/versions/latest", avro()) == (
        200, {"is_compatible": True})
    assert asked(registry, "GET", "/config") == (200, {"compatibilityLevel": "BACKWARD"})


REFUSED = [
    ("GET", "/schemas/ids/9", None, 404, 40403),
    ("GET", "/subjects/none/versions/latest", None, 404, 40401),
    ("GET", "/subjects/s/versions/2", None, 404, 40402),
    ("GET", "/subjects/s/versions/x", None, 422, 42202),
    ("POST", "/subjects/none", avro(), 404, 40401),
    ("POST", "/subjects/s", avro({"type": "map", "values": "int"}), 404, 40403),
    ("POST", "/subjects/s/versions", {"schema": '{"type": "nonsense"}'}, 422, 42201),
    ("POST", "/subjects/s/versions", {"schema": "{"}, 422, 42201),
    ("POST", "/compatibility/subjects/none/versions/latest", avro(), 404, 40401),
    ("GET", "/nowhere", None, 404, 404),
]


def test_what_the_registry_refuses_has_the_documented_numbers(registry):
    asked(registry, "POST", "/subjects/s/versions", avro())
    for method, path, body, status, code in REFUSED:
        answer = asked(registry, method, path, body)
        assert (answer[0], answer[1]["error_code"]) == (status, code) and answer[1]["message"], f"{path}: {answer}"
    registry.refuse("s", "reader field missing")
    status, answer = asked(registry, "POST", "/subjects/s/versions", avro(RECORD | {"doc": "x"}))
    assert (status, answer["error_code"]) == (409, 409) and "reader field missing" in answer["message"]
    status, answer = asked(registry, "POST", "/compatibility/subjects/s/versions/latest", avro())
    assert (status, answer) == (200, {"is_compatible": False})
    assert asked(registry, "POST", "/subjects/s/versions", avro()) == (200, {"id": 1}), "what is there is no conflict"
    registry.refuse("s", None)
    assert asked(registry, "POST", "/subjects/s/versions", avro(RECORD | {"doc": "x"})) == (200, {"id": 2})


def test_the_registry_fails_as_it_is_told(registry):
    registry.fail(2, 503)
    answers = [asked(registry, "GET", "/subjects") for _ in range(3)]
    assert [status for status, _ in answers] == [503, 503, 200] and answers[0][1]["error_code"] == 50301
    registry.slow(0.7)
    begin = time.monotonic()
    asked(registry, "GET", "/subjects")
    assert time.monotonic() - begin >= 0.7
    registry.slow(0)
    asked(registry, "POST", "/subjects/s/versions", avro())
    registry.down()
    with pytest.raises(urllib.error.URLError, match="refused"):
        asked(registry, "GET", "/subjects")
    registry.up()
    assert asked(registry, "GET", "/subjects") == (200, ["s"])
    seen = [(request.method, request.path, request.status) for request in registry.requests]
    assert seen[-2:] == [("POST", "/subjects/s/versions", 200), ("GET", "/subjects", 200)]


def test_a_registry_with_a_password_and_a_certificate(make_registry, tmp_path):
    authority = Authority(tmp_path)
    registry = make_registry(users={"alice": "secret"}, tls=authority.sign("localhost"))
    known = {"url": registry.url, "ssl.ca.location": str(authority.path)}
    client = SchemaRegistryClient(known | {"basic.auth.user.info": "alice:secret"})
    assert client.register_schema("s", Schema(json.dumps(RECORD), "AVRO")) == 1
    stranger = SchemaRegistryClient(known | {"basic.auth.user.info": "alice:guess"})
    with pytest.raises(SchemaRegistryError) as refused:
        stranger.get_schema(1)
    assert refused.value.http_status_code == 401


# ---- Debezium ----

@pytest.mark.parametrize("schemas", [True, False], ids=["schemas", "bare"])
def test_what_debezium_makes_of_a_workload(pair, broker, topic_prefix, schemas):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'before');"
                    " CREATE PUBLICATION p FOR TABLE t")
    connector = pair.debezium(broker, topic_prefix, schemas=schemas, publication="p").start()
    for statement in ("INSERT INTO t VALUES (2, 'two')", "UPDATE t SET v = 'changed' WHERE id = 2",
                      "DELETE FROM t WHERE id = 1", "TRUNCATE t"):
        pair.source.sql(statement)
    records = broker.wait_records(f"{topic_prefix}.public.t", 6)
    payloads = [json.loads(record.value) if record.value else None for record in records]
    if schemas:
        assert payloads[0]["schema"]["name"] == f"{topic_prefix}.public.t.Envelope"
        payloads = [value and value["payload"] for value in payloads]
    assert [value and (value["op"], value["before"], value["after"]) for value in payloads] == [
        ("r", None, {"id": 1, "v": "before"}), ("c", None, {"id": 2, "v": "two"}),
        ("u", None, {"id": 2, "v": "changed"}), ("d", {"id": 1, "v": None}, None), None, ("t", None, None)]
    assert records[5].key is None and records[3].key == records[4].key
    assert payloads[0]["source"]["version"].startswith("3.")
    connector.stop()
    assert connector.offsets_path.exists()


def test_debezium_goes_on_where_it_was(pair, broker, topic_prefix):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    connector = pair.debezium(broker, topic_prefix, snapshot_mode="no_data", schemas=False).start()
    pair.source.sql("INSERT INTO t VALUES (2)")
    broker.wait_records(f"{topic_prefix}.public.t", 1)
    connector.stop()
    pair.source.sql("INSERT INTO t VALUES (3)")
    connector.start()
    records = broker.wait_records(f"{topic_prefix}.public.t", 2)
    assert [json.loads(record.value)["after"]["id"] for record in records] == [2, 3]


def test_debezium_that_cannot_work_is_told(pair, broker, topic_prefix):
    connector = pair.debezium(broker, topic_prefix, publication="missing")
    with pytest.raises(AssertionError, match="failed|did not start"):
        connector.start(60)
    assert not connector.alive()
