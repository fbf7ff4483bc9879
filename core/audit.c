#include "core/audit.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/memory.h"

enum { NAME_SIZE = 200, FLAG_EVEN = 1, VARINT_BITS = 7, VARINT_MORE = 0x80 };

/* ---- sums ---- */

static void sums_add(AuditSums *to, const AuditSums *from) {
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        to->counts[kind] += from->counts[kind];
    to->hash += from->hash;
}

static void three_add(AuditThree *to, const AuditThree *from) {
    sums_add(&to->received, &from->received);
    sums_add(&to->applied, &from->applied);
    sums_add(&to->left_out, &from->left_out);
}

static bool sums_equal(const AuditSums *a, const AuditSums *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

bool audit_even(const AuditThree *sums) {
    AuditSums done = sums->applied;
    sums_add(&done, &sums->left_out);
    return sums_equal(&sums->received, &done);
}

uint64_t audit_total(const AuditSums *sums) {
    uint64_t total = 0;
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        total += sums->counts[kind];
    return total;
}

/* The finalizer of splitmix64: neighbours of a position have numbers that have nothing in common. */
static uint64_t change_hash(const AuditTable *table, Lsn commit, ChangeKind kind) {
    uint64_t x = (commit.at + table->id) ^ ((uint64_t)kind << 62);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* ---- tables ---- */

static uint64_t name_id(const char *schema, const char *name) {
    XXH64_hash_t seed = XXH64(schema, strlen(schema), 0);
    return XXH64(name, strlen(name), seed);
}

static TableMetrics *metrics_of(Metrics *metrics, const TableRecord *record) {
    char full_name[NAME_SIZE];
    if (metrics == NULL)
        return NULL;
    snprintf(full_name, sizeof full_name, "%s.%s", record->schema, record->name);
    return record->source_oid == 0 ? metrics_table(metrics, full_name)
                                   : metrics_table_of(metrics, full_name, record->source_oid);
}

static int ids_compare(const void *a, const void *b) {
    uint64_t left = ((const AuditTable *)a)->id, right = ((const AuditTable *)b)->id;
    return (left > right) - (left < right);
}

void audit_begin(Audit *a, const TableRecords *records, Metrics *metrics) {
    *a = (Audit){.records = records, .metrics = metrics, .count = (uint32_t)records->count};
    a->tables = memory_new((a->count + 1u) * sizeof *a->tables);
    for (uint32_t at = 0; at < a->count; at++) {
        const TableRecord *record = &records->rows[at];
        a->tables[at] = (AuditTable){.record = record, .metrics = metrics_of(metrics, record)};
        a->tables[at].id = name_id(record->schema, record->name);
    }
    qsort(a->tables, a->count, sizeof *a->tables, ids_compare);
    for (uint32_t at = 0; at < a->count; at++)
        a->tables[at].number = at;
    while (a->by_oid_mask < 2 * a->count)
        a->by_oid_mask = 2 * a->by_oid_mask + 1;
    a->by_oid = memory_new((a->by_oid_mask + 1u) * sizeof *a->by_oid);
}

void audit_end(Audit *a) {
    free(a->tables);
    free(a->by_oid);
    *a = (Audit){0};
}

static AuditTable *table_of_id(const Audit *a, uint64_t id) {
    AuditTable wanted = {.id = id};
    return bsearch(&wanted, a->tables, a->count, sizeof *a->tables, ids_compare);
}

AuditTable *audit_table(const Audit *a, const char *schema, const char *name) {
    return table_of_id(a, name_id(schema, name));
}

/* NULL: not a table of the job, which nobody will apply. */
static AuditTable *relation_find(const Audit *a, const Relation *rel) {
    const TableRecord *record = state_table_find(a->records, rel->oid, rel->schema, rel->name);
    return record == NULL || !record->loaded ? NULL : audit_table(a, record->schema, record->name);
}

/* A relation has many versions, but one OID. */
static AuditTable *table_of(Audit *a, const Relation *rel) {
    uint32_t at = rel->oid * 0x9E3779B1u & a->by_oid_mask;
    while (a->by_oid[at].table != NULL && a->by_oid[at].oid != rel->oid)
        at = (at + 1) & a->by_oid_mask;
    if (a->by_oid[at].table != NULL)
        return a->by_oid[at].table;
    AuditTable *table = relation_find(a, rel);
    if (table != NULL && rel->oid != 0 && a->known < a->count) {
        a->by_oid[at] = (AuditPlace){rel->oid, table};
        a->known++;
    }
    return table;
}

/* ---- while changes pass ---- */

static void places_reserve(AuditDelta *d, uint32_t number) {
    uint32_t before = d->place_count;
    if (number < before)
        return;
    d->place_count = before == 0 ? 8 : before;
    while (d->place_count <= number)
        d->place_count *= 2;
    d->places = memory_grow(d->places, d->place_count * sizeof *d->places);
    memset(d->places + before, 0, (d->place_count - before) * sizeof *d->places);
}

static bool is_row_of(const AuditDelta *d, uint32_t at, uint32_t from, const AuditTable *table) {
    return at >= from && at < d->count && d->rows[at].table == table;
}

static AuditRow *row_of(AuditDelta *d, AuditTable *table) {
    places_reserve(d, table->number);
    uint32_t *place = &d->places[table->number];
    if (is_row_of(d, *place, d->marked, table))
        return &d->rows[*place];
    if (d->count == d->capacity) {
        d->capacity = d->capacity == 0 ? 8 : 2 * d->capacity;
        d->rows = memory_grow(d->rows, d->capacity * sizeof *d->rows);
    }
    *place = d->count++;
    d->rows[*place] = (AuditRow){.table = table};
    return &d->rows[*place];
}

typedef enum Which { RECEIVED, APPLIED, LEFT_OUT } Which;

static void count_one(Audit *a, AuditDelta *d, const Transaction *tx, const Relation *rel, ChangeKind kind,
                      Which which) {
    AuditTable *table = table_of(a, rel);
    if (table == NULL || !change_is_due(table->record->start, tx))
        return;
    AuditThree *sums = &row_of(d, table)->sums;
    AuditSums *to = which == RECEIVED ? &sums->received : which == APPLIED ? &sums->applied : &sums->left_out;
    to->counts[kind]++;
    to->hash += change_hash(table, tx->commit, kind);
}

void audit_receive(Audit *a, AuditDelta *d, const Transaction *tx) {
    for (const Change *change = tx->changes; change < tx->changes + tx->count; change++)
        if (change->kind < CHANGE_TRUNCATE)
            count_one(a, d, tx, change->rel, change->kind, RECEIVED);
        else if (change->kind == CHANGE_TRUNCATE)
            for (uint32_t table = 0; table < change->truncate.count; table++)
                count_one(a, d, tx, change->truncate.rels[table], CHANGE_TRUNCATE, RECEIVED);
}

void audit_apply(Audit *a, AuditDelta *d, const Transaction *tx, const Relation *rel, ChangeKind kind,
                 bool left_out) {
    count_one(a, d, tx, rel, kind, left_out ? LEFT_OUT : APPLIED);
}

void audit_mark(AuditDelta *d) {
    d->marked = d->count;
}

void audit_cut(AuditDelta *d, uint32_t count) {
    assert(count <= d->count);
    d->count = d->marked = count;
}

void audit_mark_behind(AuditDelta *d, uint32_t count) {
    uint32_t kept = count;
    assert(count <= d->count);
    for (uint32_t at = count; at < d->count; at++) {
        AuditRow row = d->rows[at];
        uint32_t *place = &d->places[row.table->number];
        if (*place < kept && is_row_of(d, *place, count, row.table)) {
            three_add(&d->rows[*place].sums, &row.sums);
            continue;
        }
        *place = kept;
        d->rows[kept++] = row;
    }
    d->count = d->marked = kept;
}

void audit_return(AuditDelta *d) {
    for (AuditRow *row = d->rows + d->marked; row < d->rows + d->count; row++)
        row->sums.applied = row->sums.left_out = (AuditSums){0};
}

static void sums_known(AuditSums *sums, const AuditTable *table, Lsn commit) {
    sums->hash = 0;
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        sums->hash += sums->counts[kind] * change_hash(table, commit, (ChangeKind)kind);
}

void audit_known(AuditDelta *d, const Transaction *tx) {
    for (AuditRow *row = d->rows; row < d->rows + d->count; row++) {
        sums_known(&row->sums.received, row->table, tx->commit);
        sums_known(&row->sums.applied, row->table, tx->commit);
        sums_known(&row->sums.left_out, row->table, tx->commit);
    }
}

static void tell_metrics(const AuditTable *table) {
    TableMetrics *m = table->metrics;
    if (m == NULL)
        return;
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        atomic_store(&m->changes[kind], (long long)table->sums.applied.counts[kind]);
    atomic_store(&m->received, (long long)audit_total(&table->sums.received));
    atomic_store(&m->left_out, (long long)audit_total(&table->sums.left_out));
    atomic_store(&m->uneven, !audit_even(&table->sums));
}

void audit_tell(const Audit *a) {
    for (uint32_t at = 0; at < a->count; at++)
        tell_metrics(&a->tables[at]);
    if (a->metrics != NULL)
        metrics_audit(a->metrics, a->since, a->broken);
}

void audit_commit(Audit *a, AuditDelta *d, Lsn end) {
    for (const AuditRow *row = d->rows; row < d->rows + d->count; row++) {
        three_add(&row->table->sums, &row->sums);
        row->table->unwritten = true;
        tell_metrics(row->table);
    }
    audit_cut(d, 0);
    a->end = end;
}

void audit_delta_free(AuditDelta *d) {
    free(d->rows);
    free(d->places);
    *d = (AuditDelta){0};
}

/* ---- what is kept ---- */

static void varint_write(Writer *out, uint64_t value) {
    for (; value >= VARINT_MORE; value >>= VARINT_BITS)
        writer_u8(out, (uint8_t)(value | VARINT_MORE));
    writer_u8(out, (uint8_t)value);
}

static uint64_t varint_read(Reader *in) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += VARINT_BITS) {
        uint8_t part = reader_u8(in);
        value |= (uint64_t)(part & (VARINT_MORE - 1)) << shift;
        if ((part & VARINT_MORE) == 0)
            return value;
    }
    in->bad = true;
    return 0;
}

static void sums_write(Writer *out, const AuditSums *sums) {
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        varint_write(out, sums->counts[kind]);
    writer_u64(out, sums->hash);
}

static AuditSums sums_read(Reader *in) {
    AuditSums sums;
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        sums.counts[kind] = varint_read(in);
    sums.hash = reader_u64(in);
    return sums;
}

/* Most often all that was received was applied: said in one byte. */
void audit_write(const AuditDelta *d, Lsn end, Writer *out) {
    writer_u64(out, end.at);
    for (const AuditRow *row = d->rows; row < d->rows + d->count; row++) {
        bool even = sums_equal(&row->sums.received, &row->sums.applied) && audit_even(&row->sums);
        writer_u64(out, row->table->id);
        writer_u8(out, even ? FLAG_EVEN : 0);
        sums_write(out, &row->sums.received);
        if (even)
            continue;
        sums_write(out, &row->sums.applied);
        sums_write(out, &row->sums.left_out);
    }
}

void audit_break(Audit *a, const char *reason, Lsn at) {
    if (a->broken[0] == '\0')
        snprintf(a->broken, sizeof a->broken, "%s at " LSN_FMT, reason, LSN_ARGS(at));
}

/* A table that the job no longer has is nobody's. */
static bool rows_read(Audit *a, Reader *in) {
    while (reader_left(in) > 0 && !in->bad) {
        AuditThree sums = {0};
        AuditTable *table = table_of_id(a, reader_u64(in));
        bool even = reader_u8(in) == FLAG_EVEN;
        sums.received = sums_read(in);
        sums.applied = even ? sums.received : sums_read(in);
        if (!even)
            sums.left_out = sums_read(in);
        if (in->bad)
            return false;
        if (table == NULL)
            continue;
        three_add(&table->sums, &sums);
        table->unwritten = true;
    }
    return !in->bad;
}

void audit_read(Audit *a, Slice kept, Lsn from, Lsn end) {
    Reader in = reader_new(kept);
    if (!lsn_equal(a->end, from))
        audit_break(a, "the progress was moved by hand: there is a gap", from);
    if (reader_u64(&in) != end.at || in.bad)
        audit_break(a, "the progress was moved by hand: nothing was counted", end);
    else if (!rows_read(a, &in))
        audit_break(a, "the sums of the progress cannot be read", end);
    a->end = end;
}
