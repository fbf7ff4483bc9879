#!/bin/bash
# Makes the golden frames: runs capture.sql on a fresh PostgreSQL 15 and writes what pgoutput says about it, one file for
# each set of options. A line is the LSN and the transaction that the server reports for the frame, and its bytes.
# usage: tests/unit/data/capture.sh   (as root it starts the server as the user postgres)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=${PG_BIN:-/usr/lib/postgresql/15/bin}
home=$(mktemp -d /tmp/walferry_capture.XXXXXX)
as=()
if [ "$(id -u)" = 0 ]; then
    as=(runuser -u postgres --)
    chown postgres "$home"
fi
trap '"${as[@]}" "$bin/pg_ctl" -D "$home/data" -m immediate -s stop || true; rm -rf "$home"' EXIT

"${as[@]}" "$bin/initdb" -D "$home/data" -U postgres -A trust -E UTF8 --no-locale -N >"$home/initdb.log"
cat >>"$home/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$home'
fsync = off
autovacuum = off
wal_level = logical
max_prepared_transactions = 10
logical_decoding_work_mem = 64kB
timezone = UTC
CONF
"${as[@]}" "$bin/pg_ctl" -D "$home/data" -l "$home/server.log" -s -w start
session=(psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$home" -U postgres -d postgres)
microseconds() { "${session[@]}" -c "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"; }

"${session[@]}" -f "$here/capture_schema.sql" >/dev/null
from=$(microseconds)
"${session[@]}" -f "$here/capture.sql" >/dev/null

# Two large transactions at the same time: their streams interleave, and the one that began later commits first.
coproc OTHER { "${session[@]}"; }
other() {
    echo "$1; \\echo done" >&"${OTHER[1]}"
    local line
    until [ "${line:-}" = done ]; do read -r line <&"${OTHER[0]}"; done
}
other "BEGIN; INSERT INTO plain (id, note) VALUES (400, 'commits last'); INSERT INTO noise SELECT generate_series(1, 600)"
"${session[@]}" <<'SQL'
BEGIN;
INSERT INTO plain (id, note) VALUES (401, 'commits first');
INSERT INTO noise SELECT generate_series(1, 1200);
INSERT INTO plain (id, note) VALUES (402, 'commits first');
COMMIT;
SQL
other "INSERT INTO plain (id, note) VALUES (403, 'commits last'); INSERT INTO noise SELECT generate_series(1, 600); COMMIT"
upto=$(microseconds)

# peek FILE SLOT OPTIONS
peek() {
    {
        echo "# $("${session[@]}" -c "SHOW server_version"), slot $2: $3"
        echo "# workload: $from $upto microseconds since 1970"
        "${session[@]}" -F ' ' -c "SELECT lsn, xid, encode(data, 'hex')
            FROM pg_logical_slot_peek_binary_changes('$2', NULL, NULL, 'publication_names', 'p', $3)"
    } >"$here/$1"
}
peek pgoutput_1_text.hex one_phase "'proto_version', '1', 'messages', 'true'"
peek pgoutput_2_stream.hex one_phase "'proto_version', '2', 'messages', 'true', 'streaming', 'on'"
peek pgoutput_3_two_phase.hex two_phase "'proto_version', '3', 'messages', 'true', 'streaming', 'on', 'two_phase', 'on'"
peek pgoutput_3_binary.hex one_phase "'proto_version', '3', 'messages', 'true', 'binary', 'true'"
