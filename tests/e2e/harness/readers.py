"""What readers of the topics get: Confluent's deserializers of Avro and Protobuf through a registry, and JSON with its
schema as Connect reads it. All are brought to the same Python values, of which the JSON says which they have to be:
numbers, texts, bytes, Decimal, lists, dicts; floats as their bits, so that NaN is itself and -0 is not 0."""
import base64
import io
import json
import re
import struct
from dataclasses import dataclass
from decimal import Context, Decimal

from .place import use_kafka_packages
from .protobuf import message_class

use_kafka_packages()

import fastavro  # noqa: E402
from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: E402
from confluent_kafka.schema_registry.avro import AvroDeserializer  # noqa: E402
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer  # noqa: E402
from confluent_kafka.serialization import MessageField, SerializationContext  # noqa: E402

BY_TOPIC = {"subject.name.strategy.type": "TOPIC"}
DECIMAL = "org.apache.kafka.connect.data.Decimal"
EXACT = Context(prec=200000, Emin=-999999, Emax=999999)


@dataclass(frozen=True)
class Float:
    bits: bytes


def single(value):
    return Float(struct.pack(">f", float(value)))


def double(value):
    return Float(struct.pack(">d", float(value)))


def field_name(name):
    """As schemas of Avro and Protobuf can have it."""
    name = re.sub("[^A-Za-z0-9_]", lambda c: "_" * len(c.group().encode("utf-16-le")[::2]), name)
    return f"_{name}" if name[:1].isdigit() else name


def wire_id(data):
    assert data[0] == 0, data[:8]
    return struct.unpack(">I", data[1:5])[0]


# ---- JSON ----

SCALARS = {"boolean": bool, "int8": int, "int16": int, "int32": int, "int64": int, "float": single, "double": double,
           "string": str}


def from_json(schema, value):
    if value is None:
        return None
    kind = schema["type"]
    if kind == "struct":
        return {field_name(field["field"]): from_json(field, value.get(field["field"])) for field in schema["fields"]}
    if kind == "array":
        return [from_json(schema["items"], item) for item in value]
    if kind == "map":
        pairs = value.items() if isinstance(value, dict) else value
        return {from_json(schema["keys"], key): from_json(schema["values"], item) for key, item in pairs}
    if kind == "bytes":
        return decimal_or_bytes(schema, base64.b64decode(value, validate=True))
    assert kind == "string" or not isinstance(value, str) or value in ("NaN", "Infinity", "-Infinity"), (schema, value)
    return SCALARS[kind](value)


def decimal_or_bytes(schema, value):
    if schema.get("name") != DECIMAL:
        return bytes(value)
    return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-int(schema["parameters"]["scale"]), EXACT)


def read_json(text):
    """(schema, value)."""
    whole = json.loads(text)
    return whole["schema"], from_json(whole["schema"], whole["payload"])


# ---- what comes of Avro: fastavro has the types already ----

def from_avro(schema, value):
    if value is None:
        return None
    kind = schema["type"]
    if kind == "struct":
        fields = {field_name(field["field"]): field for field in schema["fields"]}
        assert fields.keys() == value.keys(), fields.keys() ^ value.keys()
        return {name: from_avro(field, value[name]) for name, field in fields.items()}
    if kind == "array":
        return [from_avro(schema["items"], item) for item in value]
    if kind == "map":
        pairs = value.items() if isinstance(value, dict) else [(item["key"], item["value"]) for item in value]
        return {from_avro(schema["keys"], key): from_avro(schema["values"], item) for key, item in pairs}
    if kind in ("float", "double"):
        assert isinstance(value, float), value
        return SCALARS[kind](value)
    if schema.get("name") == DECIMAL:
        digits = int(schema["parameters"].get("connect.decimal.precision", 64))
        said = 0 <= int(schema["parameters"]["scale"]) <= digits  # else Avro has no such decimal
        assert isinstance(value, Decimal if said else bytes), (schema, value)
        return value if said else decimal_or_bytes(schema, value)
    assert type(value) is {"boolean": bool, "string": str, "bytes": bytes}.get(kind, int), (schema, value)
    return value


# ---- what comes of Protobuf ----

def is_said(message, field):
    """Fields without presence are always said."""
    return not field.has_presence or message.HasField(field.name)


def from_message(schema, message):
    """Of a struct."""
    out = {}
    fields = message.DESCRIPTOR.fields_by_name
    assert set(fields) == {field_name(field["field"]) for field in schema["fields"]}
    for field in schema["fields"]:
        name = field_name(field["field"])
        out[name] = from_field(field, getattr(message, name)) if is_said(message, fields[name]) else None
    return out


def from_field(schema, value):
    kind = schema["type"]
    if kind == "struct":
        return from_message(schema, value)
    if kind == "array":
        return [from_field(schema["items"], item) for item in value.item]
    if kind == "map":
        return {key: from_field(schema["values"], item) for key, item in value.items()} or None
    return decimal_or_bytes(schema, value) if kind == "bytes" else SCALARS[kind](value)


# ---- records ----

class SingleObjects:
    """Of Avro without a registry: the job's schemas are in the control topic, by their fingerprint, with which bodies begin; the
    newest counts."""

    def __init__(self, control, job):
        self.schemas = {}
        for record in control:
            key = json.loads(record.key)
            if key["job"] == job and "schema" in key:
                self.schemas[key["schema"]] = json.loads(record.value)

    def key(self, schema, record):
        return self._read(schema, record.topic, "key", record.key)

    def value(self, schema, record):
        return self._read(schema, record.topic, "value", record.value)

    def schema(self, topic, part, data):
        assert data[:2] == b"\xc3\x01", data[:10]
        said = self.schemas[data[9:1:-1].hex()]
        assert (said["topic"], said["part"]) == (topic, part)
        canonical = fastavro.schema.to_parsing_canonical_form(said["schema"])
        assert fastavro.schema.fingerprint(canonical, "CRC-64-AVRO") == data[2:10].hex()
        return said["schema"]

    def _read(self, schema, topic, part, data):
        if data is None:
            return None
        body = io.BytesIO(data[10:])
        value = fastavro.schemaless_reader(body, fastavro.parse_schema(self.schema(topic, part, data)))
        assert not body.read()
        return from_avro(schema, value)


class Reader:
    """Of one format, through a registry. Calls of key() and value() need the schema of the same record's JSON."""

    def __init__(self, form, registry, **login):
        self.form, self.registry = form, registry
        self.client = SchemaRegistryClient({"url": registry.url} | login)
        self.avro = AvroDeserializer(self.client, conf=BY_TOPIC)

    def key(self, schema, record):
        return self._read(schema, record.topic, MessageField.KEY, record.key)

    def value(self, schema, record):
        return self._read(schema, record.topic, MessageField.VALUE, record.value)

    def _read(self, schema, topic, part, data):
        if data is None:
            return None
        context = SerializationContext(topic, part)
        if self.form == "avro":
            return from_avro(schema, self.avro(data, context))
        text = self.registry.schemas[wire_id(data) - 1].text
        return from_message(schema, ProtobufDeserializer(message_class(text), BY_TOPIC, self.client)(data, context))
