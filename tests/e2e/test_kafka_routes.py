"""What a table's topic is named, what its key is, and what a reader is told of its shape."""
import json

import pytest

from harness.records import headers, place
from harness.same import Allowed, compare

ROUTER = "io.debezium.transforms.ByLogicalTableRouter"
KEY_FIELD = "__dbz__physicalTableIdentifier"


def kafka_job(pair, broker, prefix, phases=("incremental",), **kafka):
    return pair.job(file_only=True, phases=list(phases), kafka={
        "brokers": broker.client()["bootstrap.servers"], "prefix": prefix} | kafka)


def until_now(job, code=0):
    done = job.run("--until", "now")
    assert done.exit == code, done.err
    return done


def found(job, item):
    report = job.call("check", "--json").json()
    return next(each for each in report["items"] if each["name"] == item)


def said(record):
    return json.loads(record.key or "null"), (json.loads(record.value or "null") or {}).get("op")


# ---- routes ----


def test_tables_are_renamed_and_merged_also_in_the_load(pair, broker, topic_prefix):
    pair.source.sql("".join(f"CREATE TABLE orders_{n} (id int PRIMARY KEY, v text); INSERT INTO orders_{n} VALUES (1, 'loaded {n}');"
                            for n in (1, 2)) + "CREATE TABLE plain (id int PRIMARY KEY)")
    job = kafka_job(pair, broker, topic_prefix, ["full", "incremental"], topics={"route": [
        {"match": rf"({topic_prefix})\.public\.(orders)_[0-9]+", "to": r"$1.all-\2", "key_field": KEY_FIELD},
        {"match": ".*orders_2", "to": "never"},
        {"match": r"([^.]*)\.public\.plain", "to": "$1.only/plain"}]})
    assert found(job, "kafka-keys")["state"] == "passed"
    until_now(job)
    pair.source.sql("UPDATE orders_1 SET v = 'x'; UPDATE orders_2 SET id = 2; DELETE FROM orders_1; INSERT INTO plain VALUES (7)")
    until_now(job)
    assert {name.removeprefix(f"{topic_prefix}.") for name in broker.topics(topic_prefix)} == {
        "walferry", f"__debezium-heartbeat.{topic_prefix}", "all-orders", "only_plain"}

    def key(id, n):
        return {"id": id, KEY_FIELD: f"{topic_prefix}.public.orders_{n}"}
    records = broker.consume(f"{topic_prefix}.all-orders")
    assert sorted(map(repr, map(said, records[:2]))) == [repr((key(1, 1), "r")), repr((key(1, 2), "r"))]
    assert [said(r) for r in records[2:]] == [
        (key(1, 1), "u"), (key(1, 2), "d"), (key(1, 2), None), (key(2, 2), "c"), (key(1, 1), "d"), (key(1, 1), None)]
    assert {json.loads(r.value)["source"]["table"] for r in records if r.value} == {"orders_1", "orders_2"}
    assert [said(r) for r in broker.consume(f"{topic_prefix}.only_plain")] == [({"id": 7}, "c")]


def test_check_names_the_tables_whose_keys_may_be_equal(pair, broker, topic_prefix):
    pair.source.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY);"
                    " CREATE TABLE d (id int); ALTER TABLE d REPLICA IDENTITY FULL")
    job = kafka_job(pair, broker, topic_prefix, topics={"route": [{"match": ".*[.][abd]", "to": "one"}]})
    item = found(job, "kafka-keys")
    assert item["state"] == "alert" and "2 tables share" in item["seen"] and "public.a, public.b" in item["seen"], item
    assert "key_field" in item["fix"] and "public.c" not in item["seen"]


def test_no_table_gets_a_topic_of_the_job(pair, broker, topic_prefix):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = kafka_job(pair, broker, topic_prefix, topics={"route": [{"match": ".*", "to": f"{topic_prefix}.walferry"}]})
    assert "one of the job's own" in until_now(job, 2).err and not broker.topics(topic_prefix)
    assert found(job, "kafka-topics")["state"] == "failed"


def test_a_topic_that_is_missing_is_named_as_it_is_routed(pair, broker, topic_prefix):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = kafka_job(pair, broker, topic_prefix, topics={"create": False, "route": [{"match": ".*", "to": f"{topic_prefix}.other"}]})
    err = until_now(job, 2).err
    assert f'"{topic_prefix}.other"' in err and f"{topic_prefix}.public.t" not in err, err


def test_schemas_that_do_not_go_together_are_refused_with_their_table(pair, broker, topic_prefix, registry):
    pair.source.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, v text NOT NULL)")
    job = kafka_job(pair, broker, topic_prefix, format="avro", registry={"url": registry.url},
                    topics={"route": [{"match": ".*", "to": f"{topic_prefix}.one"}]})
    until_now(job)
    pair.source.sql("INSERT INTO a VALUES (1)")
    until_now(job)
    registry.refuse(f"{topic_prefix}.one-value", "reader's opinion")
    pair.source.sql("INSERT INTO b VALUES (1, 'x')")
    err = until_now(job, 5).err
    assert "reader's opinion" in err and '"public.b"' in err and "kafka.topics.route" in err, err


@pytest.mark.deadline(180)
def test_the_same_as_debeziums_router(pair, broker, make_broker):
    """Also the headers of its context, but for the id of its run."""
    prefix, theirs_at = "shop", make_broker()
    pair.source.sql("".join(f"CREATE TABLE o_{n} (id int PRIMARY KEY, v text);" for n in (1, 2)) +
                    "CREATE TABLE plain_1 (v int); ALTER TABLE plain_1 REPLICA IDENTITY FULL; CREATE TABLE last (id int PRIMARY KEY);"
                    " CREATE PUBLICATION p FOR ALL TABLES")
    job = kafka_job(pair, broker, prefix, context_headers=True, topics={"route": [
        {"match": "(.*)[.]public[.](o|plain)_[0-9]", "to": "$1.all.$2", "key_field": KEY_FIELD}]})
    connector = pair.debezium(theirs_at, prefix, schemas=False, publication="p", snapshot_mode="no_data", config={
        "table.exclude.list": r"public[.]dts_.*", "transforms": "route", "transforms.route.type": ROUTER,
        "transforms.route.topic.regex": "(.*)[.]public[.](o|plain)_[0-9]", "transforms.route.topic.replacement": "$1.all.$2"})
    until_now(job)
    connector.start()
    pair.source.sql("INSERT INTO o_1 VALUES (1, 'a'); INSERT INTO o_2 VALUES (1, 'b')")
    pair.source.sql("UPDATE o_1 SET v = 'c'; UPDATE o_2 SET id = 2; DELETE FROM o_1; TRUNCATE o_2; INSERT INTO plain_1 VALUES (1)")
    pair.source.sql("SELECT pg_logical_emit_message(true, 'app', 'one'); INSERT INTO last VALUES (1)")
    until_now(job)
    theirs_at.wait_records(f"{prefix}.public.last", 1)
    topics = [f"{prefix}.{name}" for name in ("all.o", "all.plain", "public.last", "message")]
    outcome = compare(theirs_at.consume(topics), broker.consume(topics), [
        Allowed(r".* headers\.__debezium\.context\.runId", "the id of Debezium's run"),
        Allowed(r".* headers\.walferry\..*", "walferry's own"), Allowed(r".* value\.source\.version", "its own"),
        Allowed(r".* value\.ts_.*", "when each saw it"), Allowed(r".* value\.source\.sequence", "each began elsewhere")])
    print(f"\n{outcome}")
    assert not outcome.differences, "\n".join(map(str, outcome.differences))
    assert outcome.records == 12 and outcome.used["the id of Debezium's run"] > 8


# ---- an identity that is not the key ----


def test_an_identity_by_another_index_is_the_key(pair, broker, topic_prefix):
    """A DELETE says nothing else. Debezium's connector writes it with the key {"id": 0}."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL, v text); CREATE UNIQUE INDEX i ON t (u);"
                    " ALTER TABLE t REPLICA IDENTITY USING INDEX i; INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b')")
    job = kafka_job(pair, broker, topic_prefix, ["full", "incremental"])
    item = found(job, "kafka-keys")
    assert item["state"] == "alert" and "public.t" in item["seen"] and "REPLICA IDENTITY" in item["fix"], item
    until_now(job)
    pair.source.sql("UPDATE t SET v = 'c' WHERE id = 1; UPDATE t SET u = 11 WHERE id = 1; UPDATE t SET id = 3 WHERE id = 1;"
                    " DELETE FROM t WHERE id = 2")
    until_now(job)
    assert [said(r) for r in broker.consume(f"{topic_prefix}.public.t")] == [
        ({"u": 10}, "r"), ({"u": 20}, "r"), ({"u": 10}, "u"), ({"u": 10}, "d"), ({"u": 10}, None), ({"u": 11}, "c"),
        ({"u": 11}, "u"), ({"u": 20}, "d"), ({"u": 20}, None)]
    pair.source.sql("ALTER TABLE t REPLICA IDENTITY DEFAULT")
    assert found(job, "kafka-keys")["state"] == "passed"


# ---- shapes ----


def shapes(broker, prefix):
    """[(type, id, key, [(column, type, optional)])] of the topic, each with its record."""
    out = []
    for record in broker.consume(prefix):
        assert json.loads(record.key) == {"databaseName": json.loads(record.value)["databaseName"]} and record.partition == 0
        change, = json.loads(record.value)["tableChanges"]
        columns = [(each["name"], each["typeName"], each["optional"]) for each in change["table"]["columns"]]
        out.append(((change["type"], change["id"], change["table"]["primaryKeyColumnNames"], columns), record))
    return out


def test_shapes_are_told_before_their_first_row(pair, broker, topic_prefix):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0); CREATE TABLE idle (id int PRIMARY KEY)")
    job = kafka_job(pair, broker, topic_prefix, ["full", "incremental"], schema_changes=True, topics={"partitions": 3})
    job.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t VALUES (1)")
    pair.source.sql("BEGIN; INSERT INTO t VALUES (2); ALTER TABLE t ADD v varchar(7) NOT NULL DEFAULT 'x'; INSERT INTO t VALUES (3); COMMIT")
    pair.source.sql("ALTER TABLE t SET (fillfactor = 50)")  # announced again, and nothing is new
    pair.source.sql("INSERT INTO t VALUES (4)")
    records = broker.wait_records(f"{topic_prefix}.public.t", 5)
    first, second = ("id", "int4", False), ("v", "varchar", False)
    id = '"public"."t"'
    assert [what for what, _ in shapes(broker, topic_prefix)] == [
        ("CREATE", id, ["id"], [first]),  # by the load
        ("CREATE", id, ["id"], [first]), ("ALTER", id, ["id"], [first, second])]
    told = [record for _, record in shapes(broker, topic_prefix)]
    loaded, one, two, three, _ = sorted(records, key=place)
    assert [place(record) for record in told] == [place(loaded), place(one), place(three)]
    assert headers(told[2])["walferry.xid"] == headers(two)["walferry.xid"]
    source = json.loads(told[2].value)["source"]
    assert (source["schema"], source["table"], source["lsn"]) == ("public", "t", json.loads(three.value)["source"]["lsn"])
    column = json.loads(told[2].value)["tableChanges"][0]["table"]["columns"][1]
    assert (column["jdbcType"], column["length"], column["position"], column["defaultValueExpression"]) == (
        12, 7, 2, "'x'::character varying")
    assert job.process.terminate() == 0
    pair.source.sql("ALTER TABLE t DROP COLUMN v; INSERT INTO t VALUES (5)")
    until_now(job)
    assert shapes(broker, topic_prefix)[3:][0][0] == ("CREATE", id, ["id"], [first])


def test_a_shape_is_not_lost_by_a_kill(pair, broker, topic_prefix):
    """Of the group that the kill cuts short nothing is read; behind it the shape is told again."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = kafka_job(pair, broker, topic_prefix, schema_changes=True)
    until_now(job)
    pair.source.sql("INSERT INTO t VALUES (1); ALTER TABLE t ADD v int; INSERT INTO t VALUES (2)")
    job.start(fault="kafka.before_commit:kill")
    job.process.wait_reached("kafka.before_commit")
    job.process.popen.wait()
    until_now(job)
    told = [what[0] for what, _ in shapes(broker, topic_prefix)]
    assert told == ["CREATE", "ALTER"] and len(broker.consume(f"{topic_prefix}.public.t")) == 2
    control = [json.loads(r.value) for r in broker.consume(f"{topic_prefix}.walferry") if r.value]
    lists = [each for each in control if "transactions" in each]
    assert sum(each["count"] for group in lists for each in group["transactions"]) == 2

