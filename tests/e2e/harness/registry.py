"""A schema registry in a thread: the REST calls and error bodies that Confluent documents, and what can go wrong."""
import base64
import json
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from .place import free_port, use_kafka_packages
from .protobuf import compiled

use_kafka_packages()

import fastavro  # noqa: E402

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
TYPES = ("AVRO", "JSON", "PROTOBUF")


@dataclass
class Schema:
    id: int
    type: str
    text: str
    references: list = field(default_factory=list)

    def same(self, other):
        """Spaces and the order of properties make no other schema; a Protobuf one is compared as its text."""
        if (self.type, self.references) != (other.type, other.references):
            return False
        if self.type == "PROTOBUF":
            return self.text == other.text
        return json.loads(self.text) == json.loads(other.text)


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: object  # parsed, None without one
    status: int


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message}


class Registry:
    """users: {name: password} for basic auth; tls: (certificate, key) of harness.tls for "localhost".
    `subjects` is what was registered: {subject: [Schema…]}, version 1 first; `requests` is what was asked."""

    def __init__(self, users=None, tls=None):
        self.port = free_port()
        self.users, self.tls = users or {}, tls
        self.schemas, self.subjects, self.requests = [], {}, []
        self.incompatible = {}  # subject: the reason
        self.delay_s, self.failures, self.failure_status = 0, 0, 500
        self.lock = threading.Lock()
        self.server = self.thread = None
        self.up()

    @property
    def url(self):
        return f"https://localhost:{self.port}" if self.tls else f"http://127.0.0.1:{self.port}"

    # ---- switches ----

    def up(self):
        """Again at the same port, with all that it knew."""
        self.server = _Server(("127.0.0.1", self.port), _handler(self), self.tls)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def down(self):
        """Connections are refused, and the ones that there were are cut."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    close = down

    def slow(self, seconds):
        """Before every answer; 0 for as fast as it can."""
        self.delay_s = seconds

    def fail(self, times, status=500):
        """The next answers are this error."""
        with self.lock:
            self.failures, self.failure_status = times, status

    def refuse(self, subject, reason="reader type: STRING not compatible with writer type: INT"):
        """409 for whatever is to be registered there and is not there yet; None: no longer."""
        with self.lock:
            self.incompatible.pop(subject, None)
            if reason:
                self.incompatible[subject] = reason

    # ---- what it does ----

    def register(self, subject, text, kind="AVRO", references=()):
        """Returns the id: the same for the same schema, wherever it is registered."""
        with self.lock:
            wanted = _schema(text, kind, list(references))
            versions = self.subjects.get(subject, [])
            known = _find(versions, wanted)
            if known:
                return known.id
            if subject in self.incompatible:
                raise Refused(409, 409, "Schema being registered is incompatible with an earlier schema for subject "
                                        f'"{subject}", details: [{self.incompatible[subject]}]')
            schema = _find(self.schemas, wanted)
            if not schema:
                schema = wanted
                schema.id = len(self.schemas) + 1
                self.schemas.append(schema)
            self.subjects.setdefault(subject, []).append(schema)
            return schema.id

    def answer(self, method, path, body):
        """What there is under the path, or Refused. ?format=serialized: a Protobuf schema is its descriptor."""
        parts = urlsplit(path)
        for wanted, pattern, function in ROUTES:
            match = re.fullmatch(pattern, parts.path)
            if match and method == wanted:
                answer = function(self, *map(unquote, match.groups()), *([body] if method == "POST" else []))
                serialized = parse_qs(parts.query).get("format") == ["serialized"]
                return _serialized(answer) if serialized and answer.get("schemaType") == "PROTOBUF" else answer
        raise Refused(404, 404, "HTTP 404 Not Found")

    def _register(self, subject, body):
        return {"id": self.register(subject, *_fields(body))}

    def _look_up(self, subject, body):
        with self.lock:
            wanted = _schema(*_fields(body))
            versions = self._versions(subject)
            known = _find(versions, wanted)
            if not known:
                raise Refused(404, 40403, "Schema not found")
            return _shown(subject, versions.index(known) + 1, known)

    def _by_id(self, number):
        with self.lock:
            if not 1 <= int(number) <= len(self.schemas):
                raise Refused(404, 40403, f"Schema {number} not found")
            shown = _shown(None, None, self.schemas[int(number) - 1])
            return {key: shown[key] for key in ("schema", "schemaType", "references") if key in shown}

    def _version(self, subject, version):
        with self.lock:
            return _shown(subject, *self._one_version(subject, version))

    def _version_numbers(self, subject):
        with self.lock:
            return [number + 1 for number in range(len(self._versions(subject)))]

    def _compatible(self, subject, version, body):
        """By refuse() alone: the rules of compatibility are not made again here."""
        with self.lock:
            _schema(*_fields(body))
            self._one_version(subject, version)
            return {"is_compatible": subject not in self.incompatible}

    def _own_level(self, subject):
        raise Refused(404, 40408, f"Subject '{subject}' does not have subject-level compatibility configured")

    def _versions(self, subject):
        if subject not in self.subjects:
            raise Refused(404, 40401, f"Subject '{subject}' not found.")
        return self.subjects[subject]

    def _one_version(self, subject, version):
        versions = self._versions(subject)
        if version in ("latest", "-1"):
            version = len(versions)
        if not re.fullmatch("[1-9][0-9]*", str(version)):
            raise Refused(422, 42202, f"The specified version '{version}' is not a valid version id. Allowed values are"
                                      " between [1, 2^31-1] and the string \"latest\"")
        if int(version) > len(versions):
            raise Refused(404, 40402, f"Version {version} not found.")
        return int(version), versions[int(version) - 1]


ROUTES = [
    ("GET", "/subjects", lambda registry: sorted(registry.subjects)),
    ("POST", "/subjects/([^/]+)/versions", Registry._register),
    ("GET", "/subjects/([^/]+)/versions", Registry._version_numbers),
    ("POST", "/subjects/([^/]+)", Registry._look_up),
    ("GET", "/schemas/ids/([0-9]+)", Registry._by_id),
    ("GET", "/subjects/([^/]+)/versions/([^/]+)", Registry._version),
    ("POST", "/compatibility/subjects/([^/]+)/versions/([^/]+)", Registry._compatible),
    ("GET", "/config", lambda registry: {"compatibilityLevel": "BACKWARD"}),
    ("GET", "/config/([^/]+)", Registry._own_level),
]


def _fields(body):
    if not isinstance(body, dict) or not isinstance(body.get("schema"), str):
        raise Refused(422, 42201, "Empty schema")
    return body["schema"], body.get("schemaType", "AVRO"), body.get("references", [])


def _schema(text, kind, references):
    if kind not in TYPES:
        raise Refused(422, 42201, f"Invalid schema type {kind}")
    try:
        if kind == "AVRO":
            fastavro.parse_schema(json.loads(text))
        elif kind == "JSON":
            json.loads(text)
        elif not references:
            compiled(text)
    except Exception as error:  # whatever a parser says
        raise Refused(422, 42201, f"Invalid schema {text} of type {kind}, details: {error}") from None
    return Schema(0, kind, text, references)


def _serialized(answer):
    return answer | {"schema": base64.b64encode(compiled(answer["schema"]).SerializeToString()).decode()}


def _find(schemas, wanted):
    return next((schema for schema in schemas if schema.same(wanted)), None)


def _shown(subject, version, schema):
    """AVRO is not said: it is what is meant without a word."""
    out = {"subject": subject, "version": version, "id": schema.id, "schema": schema.text}
    out |= {"schemaType": schema.type} if schema.type != "AVRO" else {}
    return out | ({"references": schema.references} if schema.references else {})


# ---- HTTP ----

class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, handler, tls):
        super().__init__(address, handler)
        self.context = None
        self.connections = []
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*map(str, tls))

    def get_request(self):
        """The handshake is the handler's: a client that does not finish it holds up nobody else."""
        connection, address = super().get_request()
        if self.context:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.connections.append(connection)
        return connection, address

    def server_close(self):
        super().server_close()
        for connection in self.connections:
            try:
                connection.shutdown(2)
            except OSError:
                pass
            connection.close()

    def handle_error(self, request, client_address):
        """Clients may leave whenever they like."""


def _handler(registry):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._do()

        do_POST = do_PUT = do_DELETE = do_GET

        def _do(self):
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            time.sleep(registry.delay_s)
            body = None
            try:
                self._may_come_in()
                body = _parsed(raw)
                status, answer = 200, registry.answer(self.command, self.path, body)
            except Refused as refused:
                status, answer = refused.status, refused.body
            registry.requests.append(Request(self.command, self.path, dict(self.headers.items()), body, status))
            self._send(status, json.dumps(answer).encode())

        def _may_come_in(self):
            with registry.lock:
                if registry.failures:
                    registry.failures -= 1
                    raise Refused(registry.failure_status, registry.failure_status * 100 + 1,
                                  "Error in the backend data store")
            known = {"Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
                     for name, password in registry.users.items()}
            if known and self.headers.get("Authorization") not in known:
                raise Refused(401, 401, "Unauthorized")

        def _send(self, status, answer):
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="SchemaRegistry"')
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass
    return Handler


def _parsed(raw):
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        raise Refused(400, 400, "Unrecognized token in the request's JSON") from None
