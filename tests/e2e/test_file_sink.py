"""The file sink's reference form: whole transactions, in order, replayed byte for byte."""
import json
import time

import pytest

from harness.poll import poll_until

KEYS = {"lsn", "seq", "xid", "ts_us", "op", "schema", "table", "before", "after"}


def lsn_of(line):
    high, low = line["lsn"].split("/")
    return int(high, 16) << 32 | int(low, 16)


def file_job(pair, **config):
    path = pair.directory / "changes.jsonl"
    job = pair.job(file_only=True, phases=["incremental"], file={"path": str(path)}, **config)
    job.start()
    # Not the slot's "active": it is that while it is made, before the point from which on it sees everything.
    poll_until(lambda: "streaming from" in job.process.err, "the stream runs")
    return job, path


def lines_of(path):
    """Whole lines only: the last one may be under way."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


def transactions_of(path):
    """Lists of changes, each ended by its commit line; what has no commit line yet is left out."""
    done, current = [], []
    for line in lines_of(path):
        if line["op"] == "commit":
            assert all(change["xid"] == line["xid"] and change["lsn"] == line["lsn"] for change in current)
            done.append((line["lsn"], current))
            current = []
        else:
            assert line.keys() == KEYS, line
            current.append(line)
    return done


def of_users(path):
    return [(lsn, changes) for lsn, changes in transactions_of(path) if changes]


def counters_in(transactions):
    """(writer, counter) of every bank transaction, in the order of the file."""
    return [(int(change["after"]["writer"]), int(change["after"]["seq"]))
            for _, changes in transactions for change in changes if change["table"] == "counters"]


def wait_for_transactions(path, count):
    poll_until(lambda: len(of_users(path)) >= count, f"{count} transactions in the file")


@pytest.mark.asan
def test_form_of_every_change(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text, big text);"
                    " ALTER TABLE t ALTER big SET STORAGE EXTERNAL;"
                    " CREATE TABLE f (a int, b text); ALTER TABLE f REPLICA IDENTITY FULL")
    job, path = file_job(pair)
    for statement in ("INSERT INTO t VALUES (1, E'a\"\\n\\\\ä', repeat('x', 9000))", "UPDATE t SET v = NULL",
                      "UPDATE t SET id = 2", "DELETE FROM t", "INSERT INTO f VALUES (1, NULL)", "UPDATE f SET b = 'x'",
                      "TRUNCATE t, f"):
        pair.source.sql(statement)
    wait_for_transactions(path, 7)
    assert job.process.terminate() == 0
    changes = [changes for _, changes in of_users(path)]
    insert, update, rekey, delete, _, full, truncate = changes
    assert insert[0]["op"] == "c" or insert[0]["op"] == "i" or insert[0]["op"] == "insert"
    assert insert[0]["after"] == {"id": "1", "v": 'a"\n\\ä', "big": "x" * 9000}
    assert update[0]["after"] == {"id": "1", "v": None}, "unchanged TOAST is absent, NULL is null"
    assert rekey[0]["before"]["id"] == "1" and rekey[0]["after"]["id"] == "2"
    assert delete[0]["before"]["id"] == "2" and not delete[0]["after"]
    assert full[0]["before"] == {"a": "1", "b": None} and full[0]["after"] == {"a": "1", "b": "x"}
    assert {line["table"] for line in truncate} == {"t", "f"}


def test_order_and_numbers(pair):
    """I4, C2: (lsn, seq) strictly increasing; seq counts the survivors from 0."""
    bank = pair.bank().start()
    job, path = file_job(pair)
    poll_until(lambda: bank.transactions() > 200, "traffic")
    bank.pause_writers()
    count = pair.source.one("SELECT sum(seq) FROM counters")
    assert count
    end = pair.source.lsn()
    poll_until(lambda: pair.source.slot(job.slot)[0] >= end, "everything is confirmed")
    assert job.process.terminate() == 0
    seen = [(lsn_of(line), line["seq"]) for line in lines_of(path) if line["op"] != "commit"]
    assert seen == sorted(set(seen))
    assert all([change["seq"] for change in changes] == list(range(len(changes))) for _, changes in of_users(path))
    assert not [line for line in lines_of(path) if "poison" in json.dumps(line)], "nothing that was rolled back"


def test_killed_runs_replay_whole_transactions_byte_for_byte(pair):
    """I5 and F01 on the file: after removing replays nothing is missing, and replays are identical."""
    bank = pair.bank(pause=0.005).start()
    job, path = file_job(pair)
    first = pair.source.sql("SELECT writer, seq FROM counters")
    for _ in range(6):
        before = bank.transactions()
        poll_until(lambda: bank.transactions() > before + 60, "traffic")
        job.process.kill9()
        job.start()
    bank.pause_writers()
    end = pair.source.lsn()
    poll_until(lambda: pair.source.slot(job.slot)[0] >= end, "everything is confirmed")
    assert job.process.terminate() == 0
    by_lsn = {}
    for lsn, changes in of_users(path):
        assert by_lsn.setdefault(lsn, changes) == changes, f"transaction {lsn} was replayed differently"
    counters = {}
    for writer, seq in counters_in(by_lsn.items()):
        counters.setdefault(writer, []).append(seq)
    for writer, seq in first:
        known = counters[writer]
        assert known == list(range(known[0], known[0] + len(known))), f"writer {writer}: gap"
        assert known[0] <= seq + 1
        assert known[-1] == bank.counters()[writer], f"writer {writer}: the end is missing"


def test_nothing_is_confirmed_before_it_is_in_the_file(pair):
    """I6 on the file."""
    bank = pair.bank(pause=0.005).start()
    job, path = file_job(pair)
    began = dict(pair.source.sql("SELECT writer, seq FROM counters"))
    for _ in range(20):
        confirmed = pair.source.slot(job.slot)[0]
        due = bank.due_at(confirmed)
        there = dict(began)  # what was committed before the stream began is not in the file
        for writer, seq in counters_in(of_users(path)):
            there[writer] = max(there[writer], seq)
        assert all(there[writer] >= seq for writer, seq in due.items()), (due, there)
        time.sleep(0.1)  # another moment of the same traffic


def test_file_beside_a_destination_gets_the_same_stream(pair):
    bank = pair.bank()
    path = pair.directory / "beside.jsonl"
    job = pair.running_job(file={"path": str(path)})
    bank.start()
    poll_until(lambda: bank.transactions() > 100, "traffic")
    job.process.kill9()
    job.start()
    bank.pause_writers()
    pair.wait_equal()
    assert job.process.terminate() == 0
    seqs = {}
    for writer, seq in counters_in(of_users(path)):
        seqs.setdefault(writer, set()).add(seq)
    assert {writer: max(known) for writer, known in seqs.items()} == bank.counters()
    assert all(known == set(range(1, max(known) + 1)) for known in seqs.values()), "no transaction is missing"
