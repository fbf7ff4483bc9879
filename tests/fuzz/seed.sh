#!/bin/bash
# Makes tests/fuzz/corpus out of the golden frames. pgoutput: each with the byte for its options before it, then only those
# that reach something new. assembler: each file's frames in a row, in every way that its options have.
# usage: tests/fuzz/seed.sh build/fuzz/tests/fuzz
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
"$fuzz/pgoutput_fuzz" -merge=1 "$here/corpus/pgoutput" "$all"

rm -rf "$here/corpus/assembler" "$all"/*
mkdir -p "$here/corpus/assembler"
for file in "$here"/../unit/data/*.hex; do
    frames=""
    while read -r lsn _ hex; do
        [ "$lsn" = "#" ] && continue
        frames+=$(printf '%04x' $((${#hex} / 2)))$hex
    done <"$file"
    for options in 0000 0200 0600 0a00 02ff; do seed "$options$frames"; done
done
"$fuzz/assembler_fuzz" -merge=1 "$here/corpus/assembler" "$all"
