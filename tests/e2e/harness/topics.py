"""What tests ask of a broker: topics, settings, rights and records, by Confluent's Python client."""
import time
import uuid
from dataclasses import dataclass, field
from functools import cached_property

from .place import use_kafka_packages
from .poll import NotInTime, poll_until

use_kafka_packages()

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient,  # noqa: E402
                                   AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, OffsetSpec,
                                   ResourcePatternType, ResourceType)

ANSWER_S = 20
SETTLE_S = 3
# Clients of the harness come back soon after a broker that was away, and are not chatty on stderr.
CLIENT = {"log_level": 0, "reconnect.backoff.max.ms": 500}


@dataclass(frozen=True)
class Record:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list = field(hash=False)  # of (name, bytes or None), in their order
    timestamp: int  # milliseconds


@dataclass(frozen=True)
class Partition:
    number: int
    leader: int
    replicas: list
    isrs: list
    low: int | None  # None without a leader
    high: int | None


class Topics:
    """A part of Broker, which says by client() how it is reached."""

    # ---- clients ----

    def client(self, user=None, authority=None):
        raise NotImplementedError

    def producer(self, config=None, user=None, authority=None):
        return Producer(CLIENT | self.client(user, authority) | (config or {}))

    @cached_property
    def admin(self):
        return AdminClient(CLIENT | self.client())

    def produce(self, topic, value, key=None, headers=None, partition=-1, **reached):
        """One record, delivered; reached: config, user, authority of producer()."""
        producer = self.producer(**reached)
        failures = []
        producer.produce(topic, value, key, partition, headers=headers,
                         on_delivery=lambda error, _: failures.append(error) if error else None)
        left = producer.flush(ANSWER_S)
        if failures:
            raise KafkaException(failures[0])
        assert left == 0, f"nothing said about the record for {topic} within {ANSWER_S} s"

    # ---- topics ----

    def _known_topics(self):
        """A client that hears of no broker at all, as from one that is fenced for having been paused, never asks again: it is renewed."""
        try:
            return self.admin.list_topics(timeout=ANSWER_S // 4).topics
        except KafkaException:
            del self.admin
            return self.admin.list_topics(timeout=ANSWER_S).topics

    def topics(self, part=""):
        """Names of those that have the part in it; without those that Kafka keeps for itself."""
        names = self._known_topics()
        return {name for name in names if part in name and not name.startswith("__consumer")
                and not name.startswith("__transaction")}

    def create_topic(self, name, partitions=1, config=None):
        self.create_topics([name], partitions, config)
        return name

    def create_topics(self, names, partitions=1, config=None):
        topics = [NewTopic(name, num_partitions=partitions, replication_factor=1, config=_texts(config or {})) for name in names]
        _settled(self.admin.create_topics(topics, operation_timeout=ANSWER_S))

        def led():
            there = self._known_topics()
            return all(name in there and len(there[name].partitions) == partitions
                       and all(part.leader >= 0 for part in there[name].partitions.values()) for name in names)
        poll_until(led, f"{names} have leaders", ANSWER_S, every=0.02)

    def delete_topic(self, name):
        _settled(self.admin.delete_topics([name], operation_timeout=ANSWER_S))
        poll_until(lambda: name not in self.topics(), f"topic {name} is gone")

    def delete_topics(self, part):
        """All that have the part in their names."""
        names = sorted(self.topics(part))
        if names:
            _settled(self.admin.delete_topics(names, operation_timeout=ANSWER_S))

    def partitions(self, name, isolation="read_uncommitted"):
        """None of a topic that is not there. high: behind the last record that such a reader may come to."""
        found = self._known_topics().get(name)
        parts = sorted(found.partitions.values(), key=lambda part: part.id) if found else []
        with _Reader(self, isolation) as consumer:
            def offsets(part):
                if part.leader < 0:
                    return None, None
                return consumer.get_watermark_offsets(TopicPartition(name, part.id), ANSWER_S, cached=False)
            return [Partition(part.id, part.leader, part.replicas, part.isrs, *offsets(part)) for part in parts]

    def led(self, name, isolation="read_uncommitted"):
        """The same, once all have a leader."""
        def found():
            parts = self.partitions(name, isolation)
            return parts if parts and all(part.leader >= 0 for part in parts) else None
        return poll_until(found, f"topic {name} has leaders (there are {sorted(self.topics())})", ANSWER_S,
                          forgiving=KafkaException)

    # ---- settings and rights ----

    def alter_config(self, name, config, of="topic"):
        """None takes a setting back. of="broker" with the name "1": those that it takes while it runs."""
        entries = [ConfigEntry(key, None if value is None else str(value), incremental_operation=(
            AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET)) for key, value in config.items()]
        resource = ConfigResource(ResourceType[of.upper()], name, incremental_configs=entries)
        _settled(self.admin.incremental_alter_configs([resource]))

        def taken():
            now = self._entries(name, of)
            return all(now[key].is_default if value is None else now[key].value == str(value)
                       for key, value in config.items())
        poll_until(taken, f"{config} is taken by {of} {name}")

    def config(self, name, of="topic"):
        return {key: entry.value for key, entry in self._entries(name, of).items()}

    def _entries(self, name, of):
        return _settled(self.admin.describe_configs([ConfigResource(ResourceType[of.upper()], name)]))[0]

    def allow(self, user, operation, name, of="topic", prefixed=False):
        """allow("alice", "write", "orders"); of: topic, group, transactional_id, or broker with "kafka-cluster"."""
        self.allow_all(user, [(operation, name, of, prefixed)])

    def allow_all(self, user, rights):
        """Of (operation, name, of, prefixed), in one request."""
        self._rules(user, rights, AclPermissionType.ALLOW)

    def deny(self, user, operation, name, of="topic", prefixed=False):
        self._rules(user, [(operation, name, of, prefixed)], AclPermissionType.DENY)

    def forget(self, user, operation, name, of="topic", prefixed=False):
        """What was denied is not any more."""
        _settled(self.admin.delete_acls([AclBindingFilter(*self._pattern(name, of, prefixed), f"User:{user}", "*",
                                                          AclOperation[operation.upper()], AclPermissionType.DENY)]))

    @staticmethod
    def _pattern(name, of, prefixed):
        return ResourceType[of.upper()], name, ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL

    def _rules(self, user, rights, permission):
        _settled(self.admin.create_acls([
            AclBinding(*self._pattern(name, of, prefixed), f"User:{user}", "*", AclOperation[operation.upper()], permission)
            for operation, name, of, prefixed in rights]))

    # ---- records ----

    def consume(self, topics, isolation="read_committed", timeout=30, settle=SETTLE_S):
        """All records from the beginning up to the end as it is now, by topic and partition, each in its order.
        read_committed: up to the first transaction that is still open after `settle` seconds. One that is committed is
        open for a moment longer: its producer is told before its partitions are."""
        topics = [topics] if isinstance(topics, str) else list(topics)
        parts = self._ends(topics, isolation, settle)
        ends = {where: high for where, (_, high) in parts.items()}
        open_ones = {where for where, (low, high) in parts.items() if high > low}
        with _Reader(self, isolation) as consumer:
            # Of a place without a number librdkafka asks half a second later.
            consumer.assign([TopicPartition(*where, parts[where][0]) for where in open_ones])
            records = self._read(consumer, ends, open_ones, time.monotonic() + timeout)
        return sorted(records, key=lambda record: (topics.index(record.topic), record.partition, record.offset))

    def _ends(self, topics, isolation, settle):
        """By topic and partition: where it begins and where it ends."""
        def ends(isolation):
            return {(name, part.number): (part.low, part.high) for name in topics for part in self.led(name, isolation)}
        written = ends("read_uncommitted")
        if isolation == "read_uncommitted":
            return written
        deadline = time.monotonic() + settle
        while True:
            committed = ends(isolation)
            if all(committed[where][1] >= end for where, (_, end) in written.items()) or time.monotonic() >= deadline:
                return {where: (low, min(end, committed[where][1])) for where, (low, end) in written.items()}
            time.sleep(0.05)

    @staticmethod
    def _read(consumer, ends, open_ones, deadline):
        """The end of a partition need not be a record: then librdkafka says that it is there."""
        records = []
        while open_ones:
            if time.monotonic() > deadline:
                raise NotInTime(f"the ends of {sorted(open_ones)} were not reached; {len(records)} records")
            for message in consumer.consume(1000, 0.02):  # it waits for all thousand
                where = (message.topic(), message.partition())
                if message.error():
                    if message.error().code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(message.error())
                    open_ones.discard(where)
                    continue
                if message.offset() < ends[where]:
                    records.append(Record(*where, message.offset(), message.key(), message.value(),
                                          message.headers() or [], message.timestamp()[1]))
                if message.offset() >= ends[where] - 1:
                    open_ones.discard(where)
        return records

    def wait_records(self, topics, count, isolation="read_committed", timeout=60):
        """Until there are that many at least. Topics that are not there yet have none."""
        topics = [topics] if isinstance(topics, str) else list(topics)

        def enough():
            there = self.topics()
            records = self.consume([name for name in topics if name in there], isolation, settle=0)
            return records if len(records) >= count else None
        return poll_until(enough, f"{count} records in {topics}", timeout, every=0.1)


class _Reader:
    """A consumer outside of any group's work, closed at the end."""

    def __init__(self, broker, isolation):
        self.consumer = Consumer(CLIENT | broker.client() | {
            "group.id": f"harness-{uuid.uuid4()}", "enable.auto.commit": False, "enable.partition.eof": True,
            "isolation.level": isolation, "auto.offset.reset": "earliest", "check.crcs": True, "fetch.wait.max.ms": 20})

    def __enter__(self):
        return self.consumer

    def __exit__(self, *_):
        self.consumer.close()


def _settled(futures):
    """Results of the admin's calls, or its first exception."""
    return [future.result(ANSWER_S + 5) for future in futures.values()]


def _texts(config):
    return {key: str(value) for key, value in config.items()}
