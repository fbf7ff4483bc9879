"""TLS: what the job file asks for is had, or nothing is."""
import pytest

from harness.poll import poll_until
from harness.tls import Authority, install, speak_tls

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')"
# For which name and how long; then the mode, whether its authority is the trusted one, the words in the sentence.
REFUSED = {
    "no TLS": (None, "require", True, "does not support SSL"),
    "other name": (("other.example", 10), "verify-full", True, "does not match host name"),
    "expired": (("localhost", -1), "verify-full", True, "whether its time is over"),
    "expired, by authority only": (("localhost", -1), "verify-ca", True, "whether its time is over"),
    "unknown authority": (("localhost", 10), "verify-full", False, "who signed it"),
}


def tls_dsn(database, mode, authority):
    return database.dsn(host="localhost") + f"?sslmode={mode}&sslrootcert={authority.path}"


@pytest.fixture
def authorities(tmp_path):
    return Authority(tmp_path, "ours"), Authority(tmp_path, "stranger")


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_was_asked_for_is_not_to_be_had(make_pair, authorities, case, side):
    """F24: fails closed, with 2 and a sentence, at once."""
    certificate, mode, known, words = REFUSED[case]
    ours, stranger = authorities
    pair = make_pair()
    pair.source.sql(TABLE)
    database = getattr(pair, side)
    if certificate:
        speak_tls(database.server, *ours.sign(*certificate))
    job = pair.job(**{f"{side}_dsn": tls_dsn(database, mode, ours if known else stranger)})
    done = job.run(timeout=15)
    assert done.exit == 2, f"exit {done.exit}: {done.err}"
    assert words in done.err and side in done.err and "hint:" in done.err, done.err
    assert pair.source.sql("SELECT slot_name FROM pg_replication_slots") == []


def test_missing_root_certificate(make_pair, authorities):
    """F24."""
    pair = make_pair()
    pair.source.sql(TABLE)
    speak_tls(pair.source.server, *authorities[0].sign("localhost"))
    authorities[0].path.unlink()
    job = pair.job(source_dsn=tls_dsn(pair.source, "verify-full", authorities[0]))
    done = job.run(timeout=15)
    assert done.exit == 2 and str(authorities[0].path) in done.err and "hint:" in done.err, done.err


def sessions(database):
    """{(kind of session, encrypted)} of walferry at this server."""
    return set(database.sql("SELECT a.backend_type, s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)"
                            " WHERE a.application_name LIKE 'walferry\\_%%'"))


@pytest.mark.asan
def test_every_session_is_encrypted_until_the_certificate_is_a_wrong_one(make_pair, authorities):
    """F24: pg_dump, exporter, COPY, walsender, keeper, apply: servers that refuse all else take the whole job. A
    certificate that runs out meanwhile ends it with the next connection."""
    pair = make_pair()
    bank = pair.bank(ballast_tables=2, ballast_rows=3000).start()
    ours, _ = authorities
    for side in (pair.source, pair.target):
        speak_tls(side.server, *ours.sign("localhost"))
    job = pair.running_job(source_dsn=tls_dsn(pair.source, "verify-full", ours),
                           target_dsn=tls_dsn(pair.target, "verify-full", ours))
    assert sessions(pair.source) == {("client backend", True), ("walsender", True)}
    assert sessions(pair.target) == {("client backend", True)}
    before = bank.transactions()
    poll_until(lambda: bank.transactions() > before + 100, "traffic")
    bank.pause_writers()
    pair.wait_equal()
    assert job.status()["totals"]["retries"] == 0
    install(pair.source.server, *ours.sign("localhost", -1))
    pair.source.server.reload()
    pair.source.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
    assert job.process.wait(15) == 2
    assert "whether its time is over" in job.process.err and "hint:" in job.process.err, job.process.err
