"""Every pair of versions that people migrate along: the same workload, the same oracles, streaming forced."""
import re
from pathlib import Path

import pytest

from harness.oracle import check_definitions, check_sequences, fingerprints
from harness.place import postgres_bin
from harness.poll import poll_until

VERSIONS = (14, 15, 16, 17, 18)
PAIRS = [(12, 12), (12, 18), (13, 13), (13, 15)]
PAIRS += [(source, target) for source in VERSIONS for target in VERSIONS if target >= source]
# What START_REPLICATION has to ask for: the most that each server speaks.
SPOKEN = {12: ("1", ""), 13: ("1", ""), 14: ("2", "on"), 15: ("3", "on"), 16: ("4", "parallel"), 17: ("4", "parallel"), 18: ("4", "parallel")}


def name_of(pair):
    return f"{pair[0]}-{pair[1]}"


def spoken(pair):
    """(protocol, streaming) of every START_REPLICATION that the source was sent."""
    log = pair.source.server.log(pair.log_offsets[pair.source.server])
    return set(re.findall(r"""START_REPLICATION [^(]*\("proto_version" '(\d)'(?:.*"streaming" '(\w+)')?""", log))


def stream_without_end(pair):
    """Every change is streamed at once, however small its transaction."""
    pair.source.sql(f'ALTER DATABASE "{pair.name}" SET debug_logical_replication_streaming = immediate')


def migrate_under_the_bank(pair):
    """The whole way with one kill -9 in the middle; returns when both sides are proven equal and the job has ended."""
    bank = pair.bank(ballast_tables=1, ballast_rows=5000).start()
    job = pair.job()
    watcher = pair.watcher(bank, job)
    job.start()
    job.wait_for("catching-up")
    watcher.watch()
    job.wait_for("running")
    traffic(bank, 1, "while running")
    job.process.kill9()
    bank.check_prefix(pair.target)
    job.start()
    job.wait_for("running")
    traffic(bank, 2, "after the kill")
    bank.check_prefix(pair.target)
    bank.pause_writers()
    job.drain(pair.source)
    pair.check_equal()
    watcher.check()
    assert watcher.looks > 10
    if pair.source.server.version >= 14:
        counted = "SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = %s"
        poll_until(lambda: pair.source.one(counted, (job.slot,)), "streamed transactions", 10)
    assert job.process.terminate() == 0
    check_definitions(pair.source, pair.target)


def traffic(bank, writer, when):
    """Some of it, with a transaction beyond logical_decoding_work_mem."""
    before = bank.transactions()
    bank.writers[writer].ask_large(3000, 40)
    poll_until(lambda: bank.transactions() > before + 50 and not bank.writers[writer].wanted, f"traffic {when}")


@pytest.mark.parametrize("versions", PAIRS, ids=name_of)
def test_bank_from_version_to_version(version_pair, versions):
    pair = version_pair(*versions)
    if versions[0] >= 16 and versions[1] % 2 == 0:
        stream_without_end(pair)
    migrate_under_the_bank(pair)
    assert spoken(pair) == {SPOKEN[versions[0]]}


def in_common_words(line):
    """Servers before 16 show a view's columns with their table's name, newer ones only where it is needed; and 18 names
    what makes a column NOT NULL."""
    line = re.sub(r"\b(animal|count_by_mood)\.(?=\w)", "", line)
    return re.sub(r"CONSTRAINT \w+_not_null NOT NULL", "NOT NULL", line)


def zoo(pair):
    """The packages of 16 and 18 are without contrib: there plain types stand in for those of extensions."""
    text = (Path(__file__).parent / "zoo.sql").read_text()
    if {pair.source.server.version, pair.target.server.version} & {16, 18}:
        text = re.sub(r"CREATE EXTENSION .*;", "", text).replace("label citext", "label text")
        text = text.replace("attributes hstore", "attributes text")
        text = text.replace("gist (animal WITH =, during WITH &&)", "gist (during WITH &&) WHERE (animal < 0)")
    return text


@pytest.mark.parametrize("versions", [(14, 17), (15, 18), (16, 16), (18, 18)], ids=name_of)
def test_objects_of_every_kind_from_version_to_version(version_pair, versions):
    pair = version_pair(*versions)
    pair.source.sql(zoo(pair))
    pair.running_job()
    pair.wait_equal()
    check_definitions(pair.source, pair.target, rewrite=in_common_words)
    check_sequences(pair.source, pair.target)


def test_an_older_target_takes_what_it_knows(version_pair):
    pair = version_pair(18, 15)
    # PostgreSQL 18 names the NOT NULL of an inheriting table, in words that 15 does not know.
    pair.source.sql(re.sub(r"(CREATE TABLE|INSERT INTO) zoo\.child .*;", "", zoo(pair)))
    job = pair.running_job()
    pair.source.sql("UPDATE zoo.animal SET doc = NULL WHERE id % 3 = 0")
    job.drain(pair.source)
    unstreamed = {"zoo.fleeting", "zoo.count_by_mood", "zoo.count_of_counts"}
    pair.check_equal(only=fingerprints(pair.source).keys() - unstreamed)
    check_definitions(pair.source, pair.target, rewrite=in_common_words)


def test_an_older_target_refuses_what_it_does_not_know_in_one_sentence(version_pair):
    pair = version_pair(18, 15)
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)")
    job = pair.job()
    assert "older than the source" in job.call("check").said
    done = job.run()
    assert done.exit == 2, done.said
    said = [line for line in done.err.splitlines() if line.startswith(("walferry:", "hint:"))]
    assert "t; Type: TABLE; Schema: public" in said[0], done.err
    assert "PostgreSQL 15, older than the source (18)" in said[1], done.err
    assert pair.target.one("SELECT to_regclass('t')") is None, "nothing is left of the schema"


def test_a_pg_dump_that_cannot_read_the_source_is_refused_with_the_package(version_pair):
    pair = version_pair(18, 18)
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = pair.job(schema={"pg_dump": str(postgres_bin(15) / "pg_dump")})
    for done in (job.call("check"), job.run()):
        assert done.exit in (1, 2)
        assert "postgresql-client-18" in done.said and "cannot read a server of version 18" in done.said
    assert done.exit == 2
    assert pair.source.server.slots(job.slot) == set()
