"""Every type that a table may have, with the values at which programs go wrong."""
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Value:
    """The text of a literal; `sql`: an expression instead. `since`: the oldest server that takes it."""
    text: str
    since: int = 12
    sql: bool = False


@dataclass
class Kind:
    """One type. `needs`: an extension, or "xml". `arrays`: whether its array type gets a table of its own."""
    name: str
    values: list
    since: int = 12
    needs: str = ""
    arrays: bool = True
    of_array: bool = False
    rows: dict = field(default_factory=dict)

    def values_for(self, version):
        return [value for value in self.values if value.since <= version]


def expression(text, since=12):
    return Value(text, since, True)


def kind(name, *values, **more):
    return Kind(name, [value if isinstance(value, Value) else Value(value) for value in values], **more)


SETUP = r"""
CREATE SCHEMA types;
CREATE TYPE types.mood AS ENUM ('sad', 'very happy', 'it''s "so", so');
CREATE DOMAIN types.percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN types.half AS types.percent CHECK (VALUE <= 50);
CREATE DOMAIN types.moods AS types.mood[];
CREATE DOMAIN types.numbers AS int[] CHECK (cardinality(VALUE) < 5);
CREATE DOMAIN types.real_mood AS types.mood CHECK (VALUE <> 'sad');
CREATE TYPE types.pair AS (a int, b text);
CREATE TYPE types.shrunk AS (a int, gone text, f float8); ALTER TYPE types.shrunk DROP ATTRIBUTE gone;
CREATE TYPE types.nested AS (n int, p types.pair, m types.mood[], ps types.pair[], d types.percent);
CREATE TYPE types.nothing AS ();
CREATE DOMAIN types.full_pair AS types.pair CHECK ((VALUE).a > 0);
CREATE TYPE types.float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE types.text_range AS RANGE (subtype = text, collation = "C");
CREATE TYPE types.mood_range AS RANGE (subtype = types.mood);
CREATE TYPE types.percent_range AS RANGE (subtype = types.percent);
CREATE TYPE types.pair_range AS RANGE (subtype = types.pair);
CREATE DOMAIN types.positive_range AS int4range CHECK (lower(VALUE) > 0);
CREATE TABLE types.pointed_at (id int PRIMARY KEY, v text);
CREATE TYPE types.shell;
CREATE FUNCTION types.shell_in(cstring) RETURNS types.shell LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION types.shell_out(types.shell) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE types.shell (INPUT = types.shell_in, OUTPUT = types.shell_out, STORAGE = extended);
CREATE TYPE types.number;
CREATE FUNCTION types.number_in(cstring) RETURNS types.number LANGUAGE internal IMMUTABLE STRICT AS 'int8in';
CREATE FUNCTION types.number_out(types.number) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int8out';
CREATE FUNCTION types.number_recv(internal) RETURNS types.number LANGUAGE internal IMMUTABLE STRICT AS 'int8recv';
CREATE FUNCTION types.number_send(types.number) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'int8send';
CREATE TYPE types.number (INPUT = types.number_in, OUTPUT = types.number_out, RECEIVE = types.number_recv,
                          SEND = types.number_send, LIKE = int8);
"""
EXTENSIONS = ["citext", "cube", "hstore", "intarray", "isn", "lo", "ltree", "seg", "vector"]

LONG = "x" * 9000
# 131,072 digits before the point and 16,383 behind it: the most that there is.
LARGEST, SMALLEST = "9" * 131072 + "." + "9" * 16383, "-0." + "0" * 16382 + "1"
ALL_BYTES = "\\x" + bytes(range(256)).hex()
NEGATIVE_NAN = "'Infinity'::{0} - 'Infinity'::{0}"  # its sign bit is set, and no text shows it
DATES = ["infinity", "-infinity", "4714-11-24 BC", "0044-03-15 BC", "2000-02-29"]
TIMES = ["infinity", "-infinity", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "0001-12-31 23:59:59.5 BC",
         "2026-03-29 02:30:00.000001"]


def floats(name, denormal, largest):
    return kind(name, "NaN", "Infinity", "-Infinity", "0", "-0", denormal, f"-{denormal}", largest, "0.1",
                expression(NEGATIVE_NAN.format(name)))


NUMBERS = [
    kind("smallint", "-32768", "32767", "0"), kind("integer", "-2147483648", "2147483647", "0"),
    kind("bigint", "-9223372036854775808", "9223372036854775807", "0"),
    kind("numeric", "NaN", Value("Infinity", 14), Value("-Infinity", 14), "0", "0.00", "-0.10", "1.1", "1.10", "1e-300", "1e400",
         LARGEST, SMALLEST, "10000", "0.0001"),
    kind("numeric(10,3)", "1.5", "-1234567.891", "NaN", arrays=False),
    kind("numeric(3,-2)", "12300", "-99900", "0", since=15, arrays=False),
    kind("numeric(2,5)", "0.00012", "-0.00099", since=15, arrays=False),
    floats("real", "1e-45", "3.4028235e38"), floats("float8", "5e-324", "1.7976931348623157e308"),
    kind("money", "-92233720368547758.08", "92233720368547758.07", "0", "-0.01"),
    kind("boolean", "t", "f"),
]
TEXTS = [
    kind("text", "", " ", "\\N", "\\.", "a\tb\nc\rd\\e\b\f\v", "NULL", "ünï\u2028\U0010ffff", "\x01\x7f", LONG, "{}\",'("),
    kind("varchar", "", "a"), kind("varchar(5)", "ab   ", "äöüßé", arrays=False), kind("char(5)", "ab", "", "äöüßé", arrays=False),
    kind("bpchar", "ab", "", "a b"), kind('"char"', "", "x", "\\", Value("\\377", 16)), kind("name", "", "a name", "n" * 63, "ü" * 31),
    kind("bytea", "\\x", ALL_BYTES, "\\x00ff5c0a", "\\x" + "5c27" * 60000), kind("bit(5)", "10101", "00000", arrays=False),
    kind("bit(64)", "01" * 32, arrays=False), kind("varbit", "", "1", "1" * 70, "0" * 64), kind("refcursor", "", "a cursor"),
    kind("uuid", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    kind("json", '{"b":1, "a" : [1,2],"b":2}', "null", '"\\u00e4\\ud83d\\ude00"', '{"\\u0000": 1e400}', " [ 1 , 2 ]\n", '""'),
    kind("jsonb", '{"b": 1e400, "a": null, "b": [1.00, -0.0]}', '"\\u00e4\\ud83d\\ude00\\\\ \\"\\t"', "{}", "[]", "null", "1.00", '"x"',
         '{"": {"ü": [[], {}]}}', f'["{LONG}"]'),
    kind("jsonpath", "$.a[*] ? (@ > 1.5)", "strict $", '$."ä\\"x"', 'lax ($.a + 1) ? (@ like_regex "^x" flag "i")'),
    kind("xml", "", "text only", '<a b="1">&amp;<!-- c --><![CDATA[<]]></a>', "<a/><b/>",
         '<?xml version="1.0" encoding="UTF-8"?><a>ü</a>', "<?xml version='1.0' standalone='yes'?><a/>", needs="xml"),
    kind("tsvector", "", "'a':1A 'b':2,3C 'it''s':16383", "'\\\\' 'ü x':7"), kind("tsquery", "", "'a':AB* & !'b' <-> 'c' | 'd' <3> 'it''s'"),
]
MOMENTS = [
    kind("date", *DATES, "5874897-12-31"), kind("timestamp", *TIMES), kind("timestamptz", *TIMES, "2026-03-29 02:30:00+05:30"),
    kind("timestamp(3)", "1999-12-31 23:59:59.9996", arrays=False), kind("time", "00:00:00", "24:00:00", "23:59:59.999999", "00:00:00.000001"),
    kind("time(0)", "23:59:59.4", arrays=False), kind("timetz", "00:00:00+15:59:59", "24:00:00-15:59:59", "12:00:00.000001+13:45"),
    kind("interval", "00:00:00", "-1 years +2 mons -3 days +04:05:06.789", "-178000000 years", "178000000 years 11 mons", "2147483647 days",
         "-2147483648 days", Value("-2562047788:00:54.775807", 15), "-100000:59:59.999999", "1 mon -30 days", "0.000001 seconds", Value("infinity", 17), Value("-infinity", 17)),
    kind("interval year to month", "-3 years -2 mons", arrays=False), kind("interval(3)", "-0.0016 seconds", arrays=False),
]
PLACES = [
    kind("inet", "::1/64", "10.0.0.1/8", "0.0.0.0/0", "255.255.255.255", "::ffff:1.2.3.4", "fe80::1"), kind("cidr", "10.0.0.0/8", "::/0", "2001:db8::/32"),
    kind("macaddr", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"), kind("macaddr8", "08:00:2b:01:02:03:04:05", "00:00:00:00:00:00:00:00"),
    kind("point", "(1e-300,-0)", "(NaN,Infinity)", "(0.1,-1e300)", expression(f"point({NEGATIVE_NAN.format('float8')}, 0)")),
    kind("line", "{1,2,3}", "{0,-1,5e-324}"), kind("lseg", "[(0,0),(1,1)]", "[(-0,Infinity),(1e-300,0.1)]"),
    kind("box", "(3,4),(1,2)", "(0.1,Infinity),(-0,-Infinity)"), kind("path", "[(0,0),(1,1)]", "((0,0),(1,1),(0.1,-0))"),
    kind("polygon", "((0,0),(1,1),(0,1))", "((0.1,-0))"), kind("circle", "<(1,2),3>", "<(-0,1e300),0>", "<(0,0),Infinity>"),
]
RANGES = [
    kind("int4range", "empty", "(,5)", "[1,2)", "(,)", "[-2147483648,2147483647)"), kind("int8range", "empty", "[-9223372036854775808,)"),
    kind("numrange", "empty", "[1.0,2.00]", "(1.10,)", "(-1e400,NaN]", Value("[-Infinity,Infinity]", 14)),
    kind("daterange", "empty", "[-infinity,infinity]", "(,4714-11-24 BC)", "[2000-01-01,5874897-12-31)"),
    kind("tsrange", "(-infinity,infinity)", "[4714-11-24 00:00:00 BC,294276-12-31 23:59:59.999999]", "empty"),
    kind("tstzrange", "(-infinity,infinity)", "[2026-01-01 00:00:00+00,)", "empty"),
    kind("int4multirange", "{}", "{[1,3),[5,)}", since=14), kind("int8multirange", "{}", "{(,-5)}", since=14),
    kind("nummultirange", "{}", "{[1.0,2.00),(5,)}", since=14), kind("datemultirange", "{}", "{[2000-01-01,2000-01-02),[infinity,)}", since=14),
    kind("tsmultirange", "{}", "{(-infinity,infinity)}", since=14), kind("tstzmultirange", "{}", "{[2026-01-01 00:00:00+00,)}", since=14),
]
SYSTEM = [
    kind("oid", "0", "4294967295", "12345"), kind("xid", "0", "4294967295"), kind("cid", "0", "4294967295"), kind("tid", "(0,0)", "(4294967295,65535)"),
    kind("xid8", "0", "18446744073709551615", since=13), kind("pg_lsn", "0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"),
    kind("txid_snapshot", "10:20:10,14,15", "1:1:"), kind("pg_snapshot", "10:20:10,14,15", since=13),
    kind("int2vector", "", "1 -2 3", arrays=False), kind("oidvector", "", "1 4294967295", arrays=False), kind("aclitem", "postgres=r*w/postgres", "=X/postgres"),
    kind("regclass", "-", "types.pointed_at", "pg_class", "4294967290"), kind("regtype", "-", "integer", "types.mood", "types.pair[]", "4294967290"),
    kind("regproc", "-", "now", "types.shell_in"), kind("regprocedure", "-", "abs(integer)", "types.shell_in(cstring)"),
    kind("regoper", "0", "||/"), kind("regoperator", "0", "+(integer,integer)"), kind("regnamespace", "-", "types"), kind("regrole", "-", "postgres"),
    kind("regconfig", "-", "simple"), kind("regdictionary", "-", "simple"), kind("regcollation", "-", '"C"', since=13),
]
USERS = [
    kind("types.mood", "sad", "very happy", "it's \"so\", so"), kind("types.percent", "0", "100"), kind("types.half", "50"),
    kind("types.moods", "{}", '{sad,NULL,"very happy"}'), kind("types.numbers", "{}", "[-2:0]={1,NULL,3}", "{{1,2},{3,4}}", arrays=False),
    kind("types.real_mood", "very happy"), kind("types.pair", '(1,"x,y")', "(,)", '(-1,"\\"()\\\\ ")', f"(0,{LONG})"),
    kind("types.shrunk", "(1,NaN)", "(,-0)", expression(f"ROW(1, {NEGATIVE_NAN.format('float8')})::types.shrunk")),
    kind("types.nested", '(7,"(1,b)","{sad,NULL}","{""(1,a)"",NULL}",5)', "(,,,,)"), kind("types.nothing", "()"),
    kind("types.full_pair", "(1,)", '(2,"a b")'), kind("types.float_range", "[1.5,2.5]", "(-Infinity,NaN]", "empty", "[-0,0.1)"),
    kind("types.text_range", '["a,b","c\\"d"]', "(,z)", "empty", '["",a)'), kind("types.mood_range", '[sad,"very happy")', "empty"),
    kind("types.percent_range", "[1,5)", "[0,]"), kind("types.pair_range", '["(1,a)","(2,b)")', "(,)"), kind("types.positive_range", "[1,5)"),
    kind("types.float_multirange", "{}", "{[1.5,2.5],[3,NaN)}", since=14), kind("types.mood_multirange", '{[sad,"very happy")}', since=14),
    kind("types.pointed_at", "(1,x)"), kind("types.shell", "", "a\tb\\", LONG), kind("types.number", "-9223372036854775808", "7"),
    kind("information_schema.sql_identifier", "x", "n" * 63), kind("information_schema.yes_or_no", "YES"),
]
EXTENSIONS_TYPES = [
    kind("contrib.citext", "MiXed", "", "Ünï", needs="citext"),
    kind("contrib.hstore", "", '"a"=>NULL, "b"=>"1 \\"2\\""', '""=>""', f'"l"=>"{LONG}"', needs="hstore"),
    kind("contrib.ltree", "", "Top.Science.Astronomy", needs="ltree"), kind("contrib.lquery", "Top.*{1,2}.A_b@*%|x", needs="ltree"),
    kind("contrib.ltxtquery", "Europe & Russia*@ & !Transportation", needs="ltree"),
    kind("contrib.cube", "(1, 2)", "(0),(0.1)", "(-0, NaN),(1e300, 5)", needs="cube"), kind("contrib.seg", "1.0", "6.50 .. ~9", "< 5", needs="seg"),
    kind("contrib.query_int", "1&(2|!3)", needs="intarray"), kind("contrib.isbn13", "978-0-11-000533-1", needs="isn"),
    kind("contrib.lo", "0", "4294967295", needs="lo"), kind("contrib.vector", "[1,2.5,-3e-20]", "[0]", needs="vector"),
    kind("contrib.vector(2)", "[0,-1e30]", needs="vector", arrays=False), kind("contrib.halfvec", "[1,65504,-0.1]", needs="vector"),
    kind("contrib.sparsevec", "{1:1.5,3:-2}/5", needs="vector"),
    kind("contrib.geometry", "POINT(1 0.1)", "SRID=4326;POLYGON((0 0,1 0,1 1,0 0))", "POINT EMPTY", "MULTILINESTRING Z((0 0 1,1 1 -0))", needs="postgis"),
    kind("contrib.geometry(Point,4326)", "SRID=4326;POINT(-0 1e-300)", needs="postgis", arrays=False),
    kind("contrib.geography", "POINT(13.4 52.5)", needs="postgis"), kind("contrib.box2d", "BOX(0 0,1 1)", needs="postgis"),
    kind("contrib.box3d", "BOX3D(0 0 0,1 1 1)", needs="postgis"),
]
SCALARS = NUMBERS + TEXTS + MOMENTS + PLACES + RANGES + SYSTEM + USERS + EXTENSIONS_TYPES


def literal(value, name):
    return f"({value.text})" if value.sql else f"""'{value.text.replace("'", "''")}'::{name}"""


def array_of(scalar):
    """Empty, with NULL, of two dimensions, with odd bounds, and one that once had a NULL (its bitmap is still there)."""
    def items(values, version):
        return ", ".join(literal(value, scalar.name) for value in values if value.since <= version)
    small = [value for value in scalar.values if len(value.text) <= 200 and value.since == 12] or scalar.values[:1]
    first, last = (literal(value, scalar.name) for value in (small[0], small[-1]))
    name = f"{scalar.name}[]"
    return Kind(name, [
        Value("{}"), expression(f"ARRAY[{items(small, 12)}, NULL]::{name}"),
        expression(f"ARRAY[[{first}, {last}], [NULL, {first}]]::{name}"), expression(f"array_fill({last}, ARRAY[2, 1], ARRAY[-1, 5])"),
        expression(f"(ARRAY[{last}, NULL, {first}]::{name})[1:1]")], scalar.since, scalar.needs, of_array=True)


def every_kind():
    return SCALARS + [array_of(scalar) for scalar in SCALARS if scalar.arrays]
