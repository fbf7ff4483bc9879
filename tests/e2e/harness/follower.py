"""A reader that follows a job's topics while it runs and is killed, and what the source itself says that it has done."""
import json
import re
import threading
import time
import uuid
from collections import Counter, defaultdict
from datetime import datetime

import psycopg2

from .poll import NotInTime, poll_until
from .records import groups_say_what_is_there, headers, identity, place
from .server import is_down, lsn_number
from .topics import (ANSWER_S, CLIENT, AdminClient, Consumer, KafkaError, KafkaException, OffsetSpec, Record,
                     TopicPartition)

from confluent_kafka import OFFSET_BEGINNING  # isort: skip  # noqa: E402  .topics says where it is

TABLES = ("accounts_a", "accounts_b", "accounts_c", "counters", "log", "detail", "documents", "full_rows", "keys", "scratch")
KEYLESS = "full_rows"
UNAVAILABLE = "__debezium_unavailable_value"
TOMBSTONE = "tombstone"
EVERY_S = 0.05
FINISH_S = 60
AWAY_S = 2
SHOWN = 10


class Oracle:
    """The same WAL by another decoder: test_decoding, in a slot of its own that is older than the job."""
    LINE = re.compile(r"table (.*?): (INSERT|UPDATE|DELETE|TRUNCATE): (old-key:)?")

    def __init__(self, source, slot="oracle"):
        self.source, self.slot = source, slot
        source.sql("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", (slot,))

    def transactions(self):
        """[(end, xid, {(seq, table, op): count})] of what is committed by now, in commit order, each once."""
        rows = self.source.sql("SELECT lsn - '0/0', xid::text, left(data, 200)"
                               " FROM pg_logical_slot_get_changes(%s, NULL, NULL)", (self.slot,))
        found, events, seq = [], Counter(), 0
        for lsn, xid, data in rows:
            if data.startswith("BEGIN"):
                events, seq = Counter(), 0
            elif data.startswith("COMMIT"):
                if events:
                    found.append((int(lsn), int(xid), events))
            elif (ours := self._change(data, seq)) is not None:
                events.update(ours)
                seq += 1
        return found

    def _change(self, data, seq):
        """The records of one change; None where the job has none (its own tables)."""
        names, kind, old_key = self.LINE.match(data).groups()
        tables = [name.removeprefix("public.") for name in names.split(", ")]
        tables = [name for name in tables if name in TABLES]
        if not tables:
            return None
        key_changed = kind == "UPDATE" and old_key and tables != [KEYLESS]
        ops = {"INSERT": "c", "TRUNCATE": "t", "DELETE": ("d", TOMBSTONE)}.get(kind) or \
            (("d", TOMBSTONE, "c") if key_changed else "u")
        return [(seq, table, op) for table in tables for op in ops]

    def close(self):
        self.source.sql("SELECT pg_drop_replication_slot(%s)", (self.slot,))


class Follower(threading.Thread):
    """Reads the slot FIRST, then up to the ends that the topics have behind that, as read_committed: the slot must not be
    beyond the newest position, nor beyond a writer's counter (I6). Each record is judged as it comes: exactly-once means
    no identity twice; at-least-once, none that lay before the position of the last start. Brokers and servers that are
    away are waited for."""

    def __init__(self, broker, prefix, bank, source, job, exactly_once):
        super().__init__(daemon=True, name="follower")
        self.broker, self.prefix, self.bank, self.source, self.job = broker, prefix, bank, source, job
        self.exactly_once = exactly_once
        self.topic_tables = {f"{prefix}.public.{table}": table for table in TABLES}
        self.control = f"{prefix}.walferry"
        self.ended = threading.Event()
        self.failure = None
        self.violations = []
        self.looks = self.looks_begun = 0  # those that came to their end; all
        self.taken = self.repeats = self.transactions_listed = 0
        self.starts = 0
        self.floor = 0       # what a start has found: nothing before it may come again
        self.born = None     # the first position
        self.applied = 0     # the newest
        self.identities = set()
        self.last = defaultdict(lambda: (0, -2))
        self.records, self.control_records = [], []  # without repeats, without values
        self.changes = defaultdict(Counter)          # (end, xid): {(seq, table, op): count}
        self.rows = {table: {} for table in TABLES}  # key: (place, row or None)
        self.keyless = Counter()
        self.truncated = {}                          # table: place
        self.counters = {}
        self.connection = self.consumer = self.admin = None

    # ---- the thread ----

    def run(self):
        try:
            poll_until(self._assign, "the job's topics are there", 600, forgiving=(KafkaException,),
                       every=0.2)
            while not self.ended.wait(EVERY_S):
                self._look()
        except Exception as error:  # kept for the main thread, which raises it
            if not self.ended.is_set():
                self.failure = error
        finally:
            if self.consumer:
                self.consumer.close()
            if self.connection:
                self.connection.close()

    def _assign(self):
        if self.ended.is_set():
            raise NotInTime("ended before the topics were there")
        there = self.broker.topics(self.prefix + ".")
        wanted = {self.control, *self.topic_tables}
        if not wanted <= there:
            return False
        self.partitions = [TopicPartition(name, part.number, OFFSET_BEGINNING)
                           for name in sorted(wanted) for part in self.broker.led(name)]
        self.consumer = Consumer(CLIENT | self.broker.client() | {
            "group.id": f"follower-{uuid.uuid4()}", "enable.auto.commit": False, "enable.partition.eof": True,
            "isolation.level": "read_committed", "check.crcs": True, "fetch.wait.max.ms": 20})
        self.consumer.assign(self.partitions)
        self.reached = {}
        return True

    def _look(self):
        self.looks_begun += 1
        number = self.looks_begun
        try:
            confirmed = self._confirmed()
            begin = time.monotonic()
            ends = self._ends()
            if time.monotonic() - begin > AWAY_S:  # the broker was away meanwhile, and may not yet lead everything
                return
        except psycopg2.Error as error:
            self.connection = None
            if is_down(error):
                return
            raise
        except KafkaException:
            self.admin = None  # its client holds on to the leaders' epochs from before the broker's restart
            return
        if any(end < self.reached.get(where, 0) for where, end in ends.items()):
            return  # behind what was read already: of a broker that has just come back
        while not self.ended.is_set():
            self._read()
            if all(self.reached.get(where, 0) >= end for where, end in ends.items()):
                self._judge(confirmed)
                self.looks += 1
                self.complete = number
                return

    complete = 0  # the number of the last look that came to its end

    def _confirmed(self):
        if self.connection is None:
            self.connection = self.source.connect()
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = %s",
                           (self.job.slot,))
            rows = cursor.fetchall()
            return int(rows[0][0]) if rows and rows[0][0] is not None else 0

    def _ends(self):
        """Behind all that is written, seen by readers or not."""
        asked = {TopicPartition(part.topic, part.partition): OffsetSpec.latest() for part in self.partitions}
        self.admin = self.admin or AdminClient(CLIENT | self.broker.client())
        answers = self.admin.list_offsets(asked, request_timeout=ANSWER_S)
        return {(part.topic, part.partition): future.result(ANSWER_S + 5).offset for part, future in answers.items()}

    def _read(self):
        for message in self.consumer.consume(2000, 0.1):
            where = message.topic(), message.partition()
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    self.reached[where] = message.offset()
                elif not message.error().retriable() and message.error().code() not in (
                        KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT):
                    raise KafkaException(message.error())
                continue
            self._take(Record(*where, message.offset(), message.key(), message.value(), message.headers() or [],
                              message.timestamp()[1]))
            self.reached[where] = message.offset() + 1

    def _say(self, text):
        self.violations.append(text)

    # ---- each record ----

    def _take(self, record):
        if record.topic == self.control:
            self._take_control(record)
            return
        self.taken += 1
        what, where = identity(record), (record.topic, record.partition)
        if what in self.identities:
            self.repeats += 1
            if self.exactly_once:
                self._say(f"twice: {what}, offset {record.offset}")
            elif self.starts < 2 or what[0] <= self.floor:
                self._say(f"again, though the job stood at {self.floor:x} after start {self.starts}: {what}")
            return
        self.identities.add(what)
        if what[:2] < self.last[where]:
            self._say(f"{what} stands behind {self.last[where]}, offset {record.offset} of {where}")
        self.last[where] = what[:2]
        self._follow(record)

    def _take_control(self, record):
        self.control_records.append(record)
        key = json.loads(record.key)
        if "lsn" in key or "schema" in key or "table" in key or record.value is None:
            return
        said = json.loads(record.value)
        if said["intent"]:
            if self.born is not None:
                self._say("an intent behind a position")
            return
        applied = lsn_number(said["applied"])
        if applied < self.applied:
            self._say(f"the position went back from {self.applied:x} to {applied:x}")
        self.born = applied if self.born is None else self.born
        self.applied = applied

    def _follow(self, record):
        table = self.topic_tables[record.topic]
        there = place(record)
        event = json.loads(record.value) if record.value else {"op": TOMBSTONE}
        self.changes[there[0], int(headers(record)["walferry.xid"])][there[1], table, event["op"]] += 1
        self.records.append(Record(record.topic, record.partition, record.offset, record.key, None, record.headers, 0))
        if event["op"] == "t":
            self.truncated[table] = max(there, self.truncated.get(table, there))
        elif event["op"] == "d":
            self.rows[table][record.key] = there, None
        elif table == KEYLESS:
            self._follow_keyless(event)
        elif event["op"] != TOMBSTONE:
            self._follow_row(table, record.key, there, event["after"])

    def _follow_row(self, table, key, there, row):
        _, known = self.rows[table].get(key, (None, None))
        kept = {name: (known or {}).get(name) for name, value in row.items() if value == UNAVAILABLE}
        self.rows[table][key] = there, row | kept
        if table == "counters":
            self.counters[row["writer"]] = row["seq"]

    def _follow_keyless(self, event):
        if event["before"]:
            before = tuple(event["before"].items())
            self.keyless[before] -= self.keyless[before] > 0  # one that the job was not yet there for, else
        if event["after"]:
            self.keyless[tuple(event["after"].items())] += 1

    # ---- I6 ----

    def _judge(self, confirmed):
        if self.born is None:
            return
        if confirmed > self.applied:
            self._say(f"confirmed {confirmed:x}, but a reader sees only up to {self.applied:x}")
        due, old = self.bank.due_at(confirmed), self.bank.due_at(self.born)
        for writer, seq in due.items():
            # The first one behind old[writer] may have been committed before the job was born.
            if seq > old[writer] + 1 and self.counters.get(writer, -1) < seq:
                self._say(f"confirmed {confirmed:x} but writer {writer}: readers see {self.counters.get(writer)},"
                          f" {seq} was committed before")

    # ---- what the main thread asks ----

    def check(self):
        if self.failure:
            raise AssertionError(f"the follower failed: {self.failure!r}") from self.failure
        seen = list(self.violations)
        assert not seen, f"{len(seen)} violations:\n  " + "\n  ".join(seen[:SHOWN])

    def mark(self):
        """Before walferry is started: what is read by now must not come again. Only once nothing old can still be unread."""
        self.starts += 1
        if self.exactly_once:  # nothing may come again at all
            return
        begun = self.looks_begun
        end = time.monotonic() + 1
        while self.complete <= begun and time.monotonic() < end and self.is_alive():
            time.sleep(0.02)
        if self.complete > begun:
            self.floor = self.applied

    def finish(self):
        """Everything that there is is read; walferry has ended."""
        begun = self.looks_begun
        poll_until(lambda: self.check() or self.complete > begun, "the follower reads to the end", FINISH_S)
        self.ended.set()
        self.join(30)
        assert not self.is_alive(), "the follower does not end"
        self.check()

    def stop(self):
        self.ended.set()
        self.join(30)

    def compare(self, oracle):
        """Every transaction since the job's birth, each change with its number, and nothing else. Returns how many."""
        wanted = {(end, xid): dict(events) for end, xid, events in oracle.transactions() if end > self.born}
        there = {which: dict(events) for which, events in self.changes.items()}
        missing, extra = wanted.keys() - there.keys(), there.keys() - wanted.keys()
        other = [which for which in wanted.keys() & there.keys() if wanted[which] != there[which]]
        assert not (missing or extra or other), (
            f"born at {self.born:x}; of {len(wanted)} transactions {len(missing)} are missing"
            f" {sorted(missing)[:SHOWN]}, {len(other)} are others {sorted(other)[:SHOWN]}, {len(extra)} are too many"
            f" {sorted(extra)[:SHOWN]}" + "".join(f"\n  {which}: {wanted[which]} is {there[which]}"[:2000]
                                                  for which in sorted(other)[:2]))
        return len(wanted)

    def check_groups(self):
        groups_say_what_is_there(self.control_records, self.records, self.job.name)
        self.transactions_listed += len(self.changes)

    def check_rows(self):
        """Of keys that the topics speak of; of others nothing was done since the birth, as compare() has shown."""
        for table in TABLES:
            wanted = self._source_rows(table)
            if table == KEYLESS:
                here = Counter(tuple(row.items()) for row in wanted)
                assert not self.keyless - here, f"{table}: {self.keyless - here} is not there, there is {here}"
                continue
            here = {self._key(table, row): row for row in wanted}
            for key, (there, row) in self.rows[table].items():
                if there < self.truncated.get(table, (0, 0)):
                    continue
                self._same(table, here.get(self._key_of(key)), row)

    def _same(self, table, here, row):
        if row is None or here is None:
            assert row is None and here is None, f"{table}: the topic leads to {row}, the source has {here}"
            return
        for name, value in row.items():
            if value is not None and name == "at":
                value = datetime.fromisoformat(value)
            # Unchanged ever since the birth: nobody has said what it is.
            unknown = name == "body" and value is None
            assert unknown or value == here[name], f"{table}.{name}: the topic has {value!r}, the source {here[name]!r}"

    def _source_rows(self, table):
        connection = self.source.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {table}")
                names = [column.name for column in cursor.description]
                return [dict(zip(names, row)) for row in cursor.fetchall()]
        finally:
            connection.close()

    KEYS = {"log": ("writer", "seq"), "detail": ("writer", "seq", "n"), "counters": ("writer",), "documents": ("writer",),
            "scratch": ("n",)}

    def _key(self, table, row):
        return tuple(row[name] for name in self.KEYS.get(table, ("id",)))

    @staticmethod
    def _key_of(key):
        return tuple(json.loads(key).values())
