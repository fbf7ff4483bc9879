"""Definitions of a job that chooses or renames. The oracle of the names is a database on the destination's server, made
from the source's dump and renamed by the ALTERs that are written here; that of the choice are the catalogs."""
import re
import subprocess

import pytest

from harness.oracle import check_definitions, definitions, dump_program
from harness.place import clean_environment, postgres_bin
from test_objects import ONLY_SOURCE, ONLY_TARGET, PAIRS, make_kinds, name_of

# Bodies of functions are text that no server follows: here they name nothing that changes.
PLAIN_BODIES = """
UPDATE pg_proc SET prosrc = replace(prosrc, 'kinds.', '')
 WHERE pronamespace = 'kinds'::regnamespace AND prosqlbody IS NULL AND probin IS NULL;
ALTER FUNCTION kinds.many RESET search_path;
"""


def reference_of(pair, alters):
    """The source's definitions in a database beside the destination's, renamed by hand."""
    reference = pair.target.server.database(pair.target.name + "_reference")
    pair.closing.append(reference.drop)
    dump = subprocess.run(
        [dump_program(pair.source.server), "--schema-only", "--no-publications", "--no-subscriptions", "--no-owner",
         "--no-privileges", "--exclude-table=public.dts_*", "-h", pair.source.server.directory, "-p",
         str(pair.source.server.port), "-U", "postgres", pair.source.name],
        check=True, capture_output=True, env=clean_environment()).stdout
    dump = re.sub(rb"(?m)^.* SET \(pg_attver=\d+\);$|\bpg_attver=\d+, |, pg_attver=\d+\b", b"", dump)
    psql_bin = postgres_bin(18) / "psql" if pair.target.server.version else postgres_bin() / "psql"
    done = subprocess.run([psql_bin, "-qX", "-h", reference.server.directory, "-p", str(reference.server.port),
                           "-U", "postgres", "-o", "/dev/null", reference.name],
                          input=dump, capture_output=True, env=clean_environment())
    errors = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
    assert all('schema "public" already exists' in line or "transaction_timeout" in line for line in errors), errors
    for name in reference.sql("SELECT evtname FROM pg_event_trigger"):
        reference.sql(f'DROP EVENT TRIGGER "{name[0]}"')
    reference.sql(alters)
    return reference


LONG = "x" * 63
KINDS_NAMES = {"schemas": {"kinds": "Odd. sorts", "extensions": LONG},
               "tables": {"kinds.thing": "crm.client", "kinds.happy": '"Odd. sorts"."Hap""py"', "kinds.visit": "crm.stay",
                          "kinds.visit_old": "crm.stay_old", "kinds.note": '"Odd. sorts".log', "kinds.log": '"Odd. sorts".note',
                          "kinds.odd": "crm.even"},
               "columns": {"kinds.thing": {"name": "Full name", "id": "code", "code": "id"},
                           "kinds.visit": {"day": LONG}, "kinds.parent": {"v": "Vee.", "id": "number"},
                           "kinds.happy": {"name": "who"}, "kinds.typed": {"a": "first"}}}
KINDS_ALTERS = f"""
ALTER TABLE kinds.thing RENAME COLUMN name TO "Full name"; ALTER TABLE kinds.thing RENAME COLUMN id TO other;
ALTER TABLE kinds.thing RENAME COLUMN code TO id; ALTER TABLE kinds.thing RENAME COLUMN other TO code;
ALTER TABLE kinds.visit RENAME COLUMN day TO {LONG};
ALTER TABLE kinds.parent RENAME COLUMN v TO "Vee."; ALTER TABLE kinds.parent RENAME COLUMN id TO number;
ALTER VIEW kinds.happy RENAME COLUMN name TO who;
ALTER TYPE kinds.pair RENAME ATTRIBUTE a TO first CASCADE;
ALTER VIEW kinds.happy RENAME TO "Hap""py";
ALTER TABLE kinds.note RENAME TO other; ALTER TABLE kinds.log RENAME TO note; ALTER TABLE kinds.other RENAME TO log;
CREATE SCHEMA crm;
ALTER TABLE kinds.thing RENAME TO client; ALTER TABLE kinds.client SET SCHEMA crm;
ALTER TABLE kinds.visit RENAME TO stay; ALTER TABLE kinds.stay SET SCHEMA crm;
ALTER TABLE kinds.visit_old RENAME TO stay_old; ALTER TABLE kinds.stay_old SET SCHEMA crm;
ALTER SEQUENCE kinds.odd RENAME TO even; ALTER SEQUENCE kinds.even SET SCHEMA crm;
ALTER SCHEMA kinds RENAME TO "Odd. sorts"; ALTER SCHEMA extensions RENAME TO {LONG};
"""


@pytest.mark.parametrize("versions", PAIRS, ids=name_of)
def test_a_schema_of_every_kind_gets_other_names(version_pair, versions):
    pair = version_pair(*versions)
    make_kinds(pair)
    pair.source.sql(PLAIN_BODIES)
    done = pair.job(phases=["schema"], objects={"rename": KINDS_NAMES}).run()
    assert done.exit in (0, 5), done.err
    check_definitions(reference_of(pair, KINDS_ALTERS), pair.target)
    assert pair.target.server.sql("SELECT datname FROM pg_database WHERE datname LIKE 'dts_sync_%'") == []
