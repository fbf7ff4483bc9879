"""The second opinion: PostgreSQL's own apply worker, with the same statements through a slot and a publication of its own."""
from .poll import poll_until

MARK = "native_mark"


class Native:
    """`database` follows `source` by a subscription. Both need the tables beforehand; `tables` is what follows FOR TABLE,
    with row filters and column lists if need be. What is in them already is not copied, unless `copy` is set.
    Pair.closing takes close()."""

    def __init__(self, source, database, tables, publish="", copy=False, options=""):
        self.source, self.database = source, database
        self.name = f"native_{database.name}"
        self.marks = 0
        for side in (source, database):
            side.sql(f"CREATE TABLE {MARK} (n int PRIMARY KEY)")
        more = f" WITH ({publish})" if publish else ""
        source.sql(f"CREATE PUBLICATION {self.name} FOR TABLE {tables}, {MARK}{more}")
        wanted = ", ".join(filter(None, [f"copy_data = {str(copy).lower()}", options]))
        database.sql(f"CREATE SUBSCRIPTION {self.name} CONNECTION 'host=127.0.0.1 port={source.server.port}"
                     f" dbname={source.name} user=postgres' PUBLICATION {self.name} WITH ({wanted})")
        poll_until(lambda: database.one("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"),
                   "the subscription follows", 60)

    def wait(self, timeout=60):
        """Until everything that is committed at the source now is there."""
        self.marks += 1
        self.source.sql(f"INSERT INTO {MARK} VALUES (%s)", (self.marks,))
        try:
            poll_until(lambda: self.database.one(f"SELECT max(n) FROM {MARK}") == self.marks, "the subscription is there",
                       timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.database.server.log()[-2000:]}") from None

    def close(self):
        self.database.sql(f"ALTER SUBSCRIPTION {self.name} DISABLE")
        self.database.sql(f"ALTER SUBSCRIPTION {self.name} SET (slot_name = NONE)")
        self.database.sql(f"DROP SUBSCRIPTION {self.name}")
        self.database.drop()
