"""pagila, a shop that nobody made for us: inheritance, rules, triggers, functions, tsvector, leaves without a key."""
import lzma
import random
import subprocess
import threading

import psycopg2
import pytest

from harness.oracle import check_definitions, fingerprints
from harness.place import ROOT, clean_environment, postgres_bin
from harness.poll import poll_until

PAGILA = ROOT / "tests/data/pagila/pagila-0.10.1.sql.xz"


def pagila_load(database):
    done = subprocess.run([postgres_bin(18) / "psql", "-qX", "-h", database.server.directory, "-U", "postgres",
                           "-p", str(database.server.port), "-o", "/dev/null", database.name],
                          input=lzma.decompress(PAGILA.read_bytes()), capture_output=True, env=clean_environment())
    errors = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
    assert done.returncode == 0 and len(errors) == 1 and '"plpgsql" already exists' in errors[0], errors


class Clerk(threading.Thread):
    """Rents, takes back and takes money, by the shop's own functions; now and then the whole is undone."""

    def __init__(self, database, seed):
        super().__init__(daemon=True, name=f"clerk-{seed}")
        self.database = database
        self.random = random.Random(seed)
        self.ended = threading.Event()
        self.done = 0
        self.failure = None

    def run(self):
        try:
            connection = self.database.connect(autocommit=False)
            cursor = connection.cursor()
            while not self.ended.wait(self.random.random() * 0.01):
                self.day(connection, cursor)
            connection.close()
        except Exception as error:  # kept for the main thread
            self.failure = error

    def day(self, connection, cursor):
        works = (self.rent, self.pay, self.take_back, self.move, self.describe, self.correct, self.enrol, self.report)
        try:
            for work in self.random.choices(works, (8, 8, 4, 4, 2, 2, 1, 1), k=self.random.randint(1, 6)):
                work(cursor)
            connection.rollback() if self.random.random() < 0.1 else connection.commit()
            self.done += 1
        except (psycopg2.errors.DeadlockDetected, psycopg2.errors.UniqueViolation):
            connection.rollback()

    def one(self, cursor, statement, *params):
        cursor.execute(statement, params)
        row = cursor.fetchone()
        return row[0] if row else None

    def customer(self):
        return self.random.randint(1, 599)

    def rent(self, cursor):
        item = self.one(cursor, "SELECT film_in_stock(%s, %s) LIMIT 1", self.random.randint(1, 1000),
                        self.random.randint(1, 2))
        if item:
            cursor.execute("INSERT INTO rental (rental_date, inventory_id, customer_id, staff_id)"
                           " VALUES (clock_timestamp(), %s, %s, 1)", (item, self.customer()))

    def pay(self, cursor):
        """By the rules of `payment` into one of its leaves, which have no key."""
        cursor.execute("INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date)"
                       " SELECT customer_id, 2, rental_id, %s, last_day(%s)::timestamp - interval '1 s' FROM rental"
                       " WHERE customer_id = %s LIMIT 2",
                       (self.random.randint(0, 9999) / 100, f"2007-0{self.random.randint(1, 5)}-15", self.customer()))

    def take_back(self, cursor):
        cursor.execute("UPDATE rental SET return_date = now() WHERE rental_id = (SELECT rental_id FROM rental"
                       " WHERE return_date IS NULL AND customer_id > %s ORDER BY rental_id LIMIT 1)",
                       (self.customer(),))

    def move(self, cursor):
        cursor.execute("UPDATE inventory SET store_id = 3 - store_id WHERE inventory_id = %s AND"
                       " inventory_in_stock(inventory_id)", (self.random.randint(1, 4581),))

    def describe(self, cursor):
        """A trigger writes the tsvector anew."""
        cursor.execute("UPDATE film SET description = description || ' again', special_features ="
                       " array_append(special_features, 'Trailers') WHERE film_id = %s",
                       (self.random.randint(1, 1000),))

    def correct(self, cursor):
        """Rows of leaves without a key: one is taken for itself only."""
        leaf = f"payment_p2007_0{self.random.randint(1, 5)}"
        cursor.execute(f"UPDATE {leaf} SET amount = amount + 0.01 WHERE payment_id = %s",
                       (self.random.randint(1, 16000),))
        cursor.execute(f"DELETE FROM {leaf} WHERE customer_id = %s AND staff_id = 2", (self.customer(),))

    def enrol(self, cursor):
        address = self.one(cursor, "INSERT INTO address (address, district, city_id, phone) VALUES (%s, '', %s, '')"
                           " RETURNING address_id", f"Street {self.random.random()}", self.random.randint(1, 600))
        cursor.execute("INSERT INTO customer (store_id, first_name, last_name, address_id)"
                       " VALUES (1, 'New', 'One', %s)", (address,))

    def report(self, cursor):
        """Makes and drops a temporary table in its own transaction."""
        cursor.execute("SELECT count(*) FROM rewards_report(7, 20.00)")


def clerks_work(clerks, more, what):
    before = [clerk.done for clerk in clerks]
    poll_until(lambda: any(clerk.failure for clerk in clerks) or
               all(clerk.done >= then + more for clerk, then in zip(clerks, before)), what, 30)
    assert not any(clerk.failure for clerk in clerks), [clerk.failure for clerk in clerks]


@pytest.mark.parametrize("versions", [(15, 18), (16, 16)], ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_pagila_moves_while_its_clerks_work(version_pair, versions):
    pair = version_pair(*versions)
    pagila_load(pair.source)
    clerks = [Clerk(pair.source, pair.number * 10 + n) for n in range(3)]
    pair.closing.append(lambda: [clerk.ended.set() for clerk in clerks])
    for clerk in clerks:
        clerk.start()
    job = pair.job(identity="full")
    job.start(fault="snapshot.mid_table:kill@9" if versions[0] == 15 else None)
    if versions[0] == 15:
        assert job.process.wait(30) == -9
        job.start()
    job.wait_for("running")
    clerks_work(clerks, 25, "work while running")
    job.process.kill9()
    clerks_work(clerks, 10, "work while walferry is away")
    job.start()
    job.wait_for("running")
    clerks_work(clerks, 25, "work after the kill")
    for clerk in clerks:
        clerk.ended.set()
        clerk.join(20)
    job.drain(pair.source)
    pair.check_equal()
    assert len(fingerprints(pair.target)) == 21
    assert job.process.terminate() == 0
    if versions[0] == versions[1]:  # from 16 on servers show views in other words
        check_definitions(pair.source, pair.target, ignoring=("REPLICA IDENTITY", "COMMENT ON SCHEMA public"))
    sales = "SELECT string_agg(t::text, chr(10) ORDER BY t::text) FROM sales_by_film_category t"
    assert pair.target.one(sales) == pair.source.one(sales)
