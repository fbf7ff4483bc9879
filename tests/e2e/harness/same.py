"""Whether two connectors wrote the same of one source: topic by topic, record by record, field by field.

Theirs is Debezium's, ours is walferry's. What may differ stands in ALLOWED, each with its reason; everything else is equal,
also the order of fields and, with schemas, the schemas."""
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

ABSENT = "(absent)"


@dataclass(frozen=True)
class Allowed:
    """`where`: matches all of "topic path"; a path within a payload is written as where there are no schemas. `when`: of the
    Difference; None: always."""
    where: str
    reason: str
    when: object = None


@dataclass
class Difference:
    topic: str
    where: str  # partition and offset, ours
    path: str
    theirs: object
    ours: object
    headers: dict  # ours

    def __str__(self):
        return f"{self.topic} [{self.where}] {self.path}:\n    debezium {_shown(self.theirs)}\n    walferry {_shown(self.ours)}"


@dataclass
class Comparison:
    """The outcome: what was compared, how often each of ALLOWED was needed, what is left."""
    records: int = 0
    fields: int = 0
    topics: int = 0
    used: Counter = field(default_factory=Counter)
    differences: list = field(default_factory=list)

    def __str__(self):
        needed = "".join(f"\n  {count:5} x {reason}" for reason, count in sorted(self.used.items()))
        return (f"{self.topics} topics, {self.records} records, {self.fields} fields compared;"
                f" {len(self.differences)} differences; allowed ones:{needed}")


class Fields(list):
    """An object of JSON: its (name, value) in their order."""


class Number(str):
    """As it is written."""


def parse(text):
    if text is None:
        return None
    return json.loads(text, object_pairs_hook=Fields, parse_int=Number, parse_float=Number, parse_constant=Number)


def plain(value):
    """A parsed value in Python's own types, to be shown."""
    if isinstance(value, Fields):
        return {name: plain(part) for name, part in value}
    return [plain(part) for part in value] if isinstance(value, list) else value


def _shown(value):
    text = value if value is ABSENT else json.dumps(plain(value), ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"


EMPTY = "a tombstone without a key, which tells nothing, and which a compacted topic refuses"


def compare(theirs, ours, allowed, most=1000):
    """Records of both, of the topics that are to be the same."""
    out = Comparison()
    walker = _Walker(out, allowed, most)
    empty = [record for record in theirs if record.key is None and record.value is None]
    if empty:
        out.used[EMPTY] += len(empty)
        theirs = [record for record in theirs if record not in empty]
    topics = sorted({record.topic for record in theirs} | {record.topic for record in ours})
    for topic in topics:
        out.topics += 1
        their_parts, our_parts = _sequences(theirs, topic), _sequences(ours, topic)
        for part in sorted(their_parts.keys() | our_parts.keys()):
            walker.sequence(topic, part, their_parts.get(part, []), our_parts.get(part, []))
    return out


def _sequences(records, topic):
    """What has an order of its own: each partition; records without a key are one, by LSN (Java's producer puts them
    anywhere, and reading several partitions gives them in no order)."""
    parts = defaultdict(list)
    for record in records:
        if record.topic == topic:
            parts["no key" if record.key is None else f"partition {record.partition}"].append(record)
    return {part: sorted(list_, key=_lsn) if part == "no key" else list_ for part, list_ in parts.items()}


def _lsn(record):
    value = json.loads(record.value)
    return value.get("payload", value)["source"]["lsn"]


class _Walker:
    def __init__(self, out, allowed, most):
        self.out, self.allowed, self.most = out, [(re.compile(each.where), each) for each in allowed], most

    def sequence(self, topic, part, theirs, ours):
        if len(theirs) != len(ours):
            self.differ(topic, part, "number of records", Number(len(theirs)), Number(len(ours)), {})
        for their, our in zip(theirs, ours):
            self.record(topic, their, our)

    def record(self, topic, their, our):
        self.out.records += 1
        where = f"partition {our.partition}, offset {our.offset}"
        headers = {name: value.decode() for name, value in our.headers if value is not None}
        self.value(topic, where, "key", parse(their.key), parse(our.key), headers)
        if (their.value is None) != (our.value is None):
            self.differ(topic, where, "value", parse(their.value), parse(our.value), headers)
        else:
            self.value(topic, where, "value", parse(their.value), parse(our.value), headers)
        self.value(topic, where, "headers", _headers(their), _headers(our), headers)

    def value(self, topic, where, path, theirs, ours, headers):
        if path.endswith(".fields"):
            theirs, ours = _by_name(theirs), _by_name(ours)
        if isinstance(theirs, Fields) and isinstance(ours, Fields):
            self.object(topic, where, path, theirs, ours, headers)
        elif type(theirs) is type(ours) is list and len(theirs) == len(ours):
            for number, (their, our) in enumerate(zip(theirs, ours)):
                self.value(topic, where, f"{path}[{number}]", their, our, headers)
        else:
            self.out.fields += 1
            if not _equal(theirs, ours):
                self.differ(topic, where, path, theirs, ours, headers)

    def object(self, topic, where, path, theirs, ours, headers):
        their, our = dict(theirs), dict(ours)
        assert len(their) == len(theirs) and len(our) == len(ours), f"a name twice in {topic} {where} {path}"
        for name in [*their, *(name for name in our if name not in their)]:
            inner = f"{path}.{name}"
            if name in their and name in our:
                self.value(topic, where, inner, their[name], our[name], headers)
            else:
                self.out.fields += 1
                self.differ(topic, where, inner, their.get(name, ABSENT), our.get(name, ABSENT), headers)
        both = [name for name in their if name in our], [name for name in our if name in their]
        if both[0] != both[1]:
            self.differ(topic, where, f"{path} (order)", *both, headers)

    def differ(self, topic, where, path, theirs, ours, headers):
        path = re.sub(r"^(key|value)\.payload\b", r"\1", path)
        found = Difference(topic, where, path, theirs, ours, headers)
        for pattern, each in self.allowed:
            if pattern.fullmatch(f"{topic} {path}") and (each.when is None or each.when(found)):
                self.out.used[each.reason] += 1
                return
        if len(self.out.differences) < self.most:
            self.out.differences.append(found)


def _by_name(fields):
    """The fields of a schema; the name stands in each."""
    if isinstance(fields, list) and all(isinstance(each, Fields) and "field" in dict(each) for each in fields):
        return Fields((dict(each)["field"], each) for each in fields)
    return fields


def _equal(theirs, ours):
    """Numbers by what they are: Java writes 1.0E10 where others write 10000000000.0, and 4.9E-324 for 5e-324."""
    if type(theirs) is type(ours) is Number:
        is_float = any(mark in number for number in (theirs, ours) for mark in ".eE")
        return Decimal(theirs) == Decimal(ours) or (is_float and float(theirs) == float(ours))
    return type(theirs) is type(ours) and theirs == ours


def _headers(record):
    """Their values are JSON where they can be read as such."""
    return Fields((name, _header_value(value)) for name, value in record.headers)


def _header_value(value):
    try:
        return parse(value)
    except ValueError:
        return value.decode()
