"""What the records of a job's topics say, and whether that is what the source has done (kafka-contract.md)."""
import json
from collections import Counter, defaultdict

from .server import lsn_number


def headers(record):
    return {name: value.decode() for name, value in record.headers}


def place(record):
    """(end of the transaction, seq): the identity of the change."""
    there = headers(record)
    return lsn_number(there["walferry.lsn"]), int(there["walferry.seq"])


def identity(record):
    return (*place(record), record.topic, record.key, record.value is None)


def repeated(records):
    """Identities that are there more than once, each with how often."""
    return {what: count for what, count in Counter(map(identity, records)).items() if count > 1}


def without_repeats(records):
    seen = set()
    return [record for record in records if identity(record) not in seen and not seen.add(identity(record))]


def in_order(records):
    """By partition, as read: places never fall."""
    last = defaultdict(lambda: (0, -2))
    for record in records:
        where = record.topic, record.partition
        assert place(record) >= last[where], f"{record} stands behind {last[where]}"
        last[where] = place(record)


def rows_of(records):
    """What is left when the events of one topic are followed, by key; of envelopes, without schema."""
    rows = {}
    for record in records:
        if record.value is None:
            continue
        event, key = json.loads(record.value), record.key
        if event["op"] == "t":
            rows.clear()
        elif event["op"] == "d":
            rows.pop(key, None)
        else:
            rows[key] = event["after"]
    return rows


def same_rows(records, source, table, columns):
    """The topic's rows are the table's."""
    there = {tuple(row[name] for name in columns) for row in rows_of(records).values()}
    here = set(source.sql(f"SELECT {', '.join(columns)} FROM {table}"))
    assert there == here, f"{table}: {len(there - here)} rows too many, {len(here - there)} are missing"


def groups(records, job):
    """The control topic's lists of transactions, in order: [(lsn, xid, {topic: count})]; and the positions."""
    transactions, positions = [], []
    for record in records:
        key = json.loads(record.key)
        if key["job"] != job or "schema" in key or "table" in key:
            continue
        if "lsn" not in key:
            positions.append(json.loads(record.value) if record.value else None)
            continue
        said = json.loads(record.value)
        for one in said["transactions"]:
            counts = {said["topics"][number]: count for number, count in one["in"]}
            assert sum(counts.values()) == one["count"]
            transactions.append((lsn_number(one["lsn"]), one["xid"], counts))
        assert key["lsn"] == said["transactions"][-1]["lsn"] or lsn_number(key["lsn"]) >= transactions[-1][0]
    return transactions, positions


def groups_say_what_is_there(control, records, job):
    """Every transaction is listed once, in order, with just the records that are there."""
    transactions, _ = groups(control, job)
    ends = [end for end, _, _ in transactions]
    assert ends == sorted(set(ends)), "a transaction is listed twice, or out of order"
    listed = {(end, xid, topic): count for end, xid, counts in transactions for topic, count in counts.items()}
    there = Counter((place(record)[0], int(headers(record)["walferry.xid"]), record.topic) for record in records)
    assert listed == dict(there)
