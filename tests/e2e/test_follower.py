"""The oracle of the kill test of Kafka (harness/follower.py) sees what it is there to see."""
import time
from collections import Counter

import pytest

from harness.follower import Follower, Oracle
from harness.poll import poll_until


@pytest.fixture
def followed(pair, broker, topic_prefix):
    """(follower, oracle, broker): of a bank that rests, with all that it did in the topics."""
    bank = pair.bank(writers=2)
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix, "topics": {"partitions": 3}})
    assert job.run("--until", "now").exit == 0
    follower = Follower(broker, topic_prefix, bank, pair.source, job, exactly_once=True)
    oracle = Oracle(pair.source, f"oracle_{pair.name}")
    bank.start()
    time.sleep(1.5)
    bank.pause_writers()
    assert job.run("--until", "now").exit == 0
    follower.start()
    poll_until(lambda: follower.looks > 0, "all is read")
    yield follower, oracle
    follower.stop()
    oracle.close()


def seen(check, words):
    with pytest.raises(AssertionError, match=words):
        check()


def test_records_and_positions_while_they_come(followed, broker, topic_prefix):
    follower, _ = followed
    first = broker.consume(f"{topic_prefix}.public.log")[0]
    earlier = [(name, b"0/1" if name == "walferry.lsn" else value) for name, value in first.headers]

    def says(words):
        poll_until(lambda: follower.violations, words)
        seen(follower.check, words)
        follower.violations.clear()
    follower.check()
    broker.produce(first.topic, first.value, first.key, first.headers)
    says("twice")
    broker.produce(first.topic, first.value, first.key, earlier)
    says("stands behind")
    confirmed = follower.applied
    follower._confirmed = lambda: confirmed + 1
    says("a reader sees only up to")
    follower.counters[0] -= 1
    follower._confirmed = lambda: confirmed
    says("committed before")


def test_what_there_is_at_the_end(followed):
    follower, oracle = followed
    follower.finish()
    right, transactions = dict(follower.changes), oracle.transactions()
    oracle.transactions = lambda: transactions

    def says(words, changes):
        follower.changes = changes
        seen(lambda: follower.compare(oracle), words)
    assert follower.compare(oracle) == len(right) > 20
    end, first = next(iter(right.items()))
    says("1 are missing", {which: events for which, events in right.items() if which != end})
    says("1 are others", right | {end: Counter(dict(list(first.items())[1:]))})
    says("1 are others", right | {end: first + Counter([(0, "log", "c")])})
    says("1 are too many", right | {(1 << 62, 1): first})

    follower.check_groups()
    last = follower.records.pop()
    seen(follower.check_groups, "")
    follower.records += [last, last]
    seen(follower.check_groups, "")

    follower.check_rows()
    for table in ("accounts_a", "keys", "detail", "documents"):
        key, (there, row) = next(item for item in follower.rows[table].items() if item[1][1])
        name = list(row)[-1]
        follower.rows[table][key] = there, row | {name: f"{row[name]}x"}
        seen(follower.check_rows, f"{table}.{name}")
        follower.rows[table][key] = there, None
        seen(follower.check_rows, "the source has")
        follower.rows[table][key] = there, row
    follower.check_rows()
    follower.keyless[next(iter(follower.keyless))] += 5
    seen(follower.check_rows, "full_rows")
