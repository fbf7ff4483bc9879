#!/bin/bash
# Makes tests/fuzz/corpus/pgoutput out of the golden frames: each with the byte for its options before it, then only those
# that reach something new. usage: tests/fuzz/seed.sh build/fuzz/tests/fuzz/pgoutput_fuzz
set -euo pipefail

fuzz=$1
here=$(cd "$(dirname "$0")" && pwd)
all=$(mktemp -d)
trap 'rm -rf "$all"' EXIT

seed() { printf '%s' "$1" | xxd -r -p >"$all/$(printf '%s' "$1" | sha1sum | cut -c1-16)"; }

for file in "$here"/../unit/data/*.hex; do
    options=00
    while read -r lsn _ hex; do
        [ "$lsn" = "#" ] && continue
        [ "${hex:0:2}" = 45 ] && options=00 # stream stop
        seed "$options$hex"
        [ "${hex:0:2}" = 53 ] && options=01 # stream start
    done <"$file"
done
seed 02410000002a0000002b0000000116b3742000000000000f4240 # a stream abort as protocol 4 has it

rm -rf "$here/corpus/pgoutput"
mkdir -p "$here/corpus/pgoutput"
"$fuzz" -merge=1 "$here/corpus/pgoutput" "$all"
