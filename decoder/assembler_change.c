#include "decoder/assembler_change.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define OUR_PREFIX  "walferry."
#define BEAT_PREFIX "walferry.beat."

static const Relation *relation_of(const AssemblerView *view, uint32_t oid, MessageKind kind, Error *e) {
    const Relation *rel = relation_get(view->relations, view->scope, oid);
    if (rel == NULL)
        fail(e, ERR_PROTOCOL, "message '%c' for relation %u, which was never announced%s", (char)kind, oid,
             view->scope == NULL ? "" : " in this streamed transaction");
    else
        relation_lend(rel, view->arena);
    return rel;
}

static bool is_heartbeat(const AssemblerOptions *options, const Relation *rel) {
    return options->beat_table != NULL && strcmp(rel->name, options->beat_table) == 0 &&
           strcmp(rel->schema, options->beat_schema) == 0;
}

/* Decimal text, or the eight bytes of a binary int8. */
static bool value_int(const Value *value, int64_t *out) {
    if (value->kind == VALUE_BINARY && value->bytes.len == 8) {
        Reader r = reader_new(value->bytes);
        *out = (int64_t)reader_u64(&r);
        return true;
    }
    char text[24], *end;
    if (value->kind != VALUE_TEXT || value->bytes.len == 0 || value->bytes.len >= sizeof text)
        return false;
    memcpy(text, value->bytes.at, value->bytes.len);
    text[value->bytes.len] = '\0';
    *out = strtoll(text, &end, 10);
    return *end == '\0';
}

static const Value *value_named(const Relation *rel, const Value *values, const char *name) {
    for (uint16_t column = 0; column < rel->column_count; column++)
        if (strcmp(rel->columns[column].name, name) == 0)
            return &values[column];
    return NULL;
}

/* A row of the heartbeat table: our beat, or nothing to the sinks. */
static bool beat_from_row(const AssemblerView *view, const Relation *rel, const Message *m, Change *out) {
    if (m->kind != MESSAGE_INSERT && m->kind != MESSAGE_UPDATE)
        return false;
    const Value *job = value_named(rel, m->row.after.values, "job");
    const Value *beat = value_named(rel, m->row.after.values, "beat");
    if (job == NULL || beat == NULL || !slice_is(job->bytes, view->options->job))
        return false;
    out->kind = CHANGE_BEAT;
    return value_int(beat, &out->beat.number);
}

/* In a key tuple 'n' means "not part of the key", not NULL (reliability L, apply-rules). */
static void key_tuple_clear(const Relation *rel, Value *values) {
    for (uint16_t column = 0; column < rel->column_count; column++)
        if (!rel->columns[column].key && values[column].kind == VALUE_NULL)
            values[column].kind = VALUE_ABSENT;
}

static bool tuple_fits(const Relation *rel, const Tuple *tuple, Error *e) {
    if (tuple->count == rel->column_count)
        return true;
    return fail(e, ERR_PROTOCOL, "a row of \"%s.%s\" has %u columns, its relation %u", rel->schema, rel->name,
                tuple->count, rel->column_count);
}

/* Whoever hands values to libpq needs a NUL behind them. There is room for it: the byte behind a value was the next
 * one's kind, which is read, or stands behind the frame; and the frame is nobody else's yet. */
static void texts_terminate(const Tuple *tuple) {
    for (uint16_t column = 0; column < tuple->count; column++)
        if (tuple->values[column].kind == VALUE_TEXT)
            ((char *)(uintptr_t)tuple->values[column].bytes.at)[tuple->values[column].bytes.len] = '\0';
}

static bool change_row(const AssemblerView *view, const Message *m, Change *out, bool *made, Error *e) {
    const Relation *rel = relation_of(view, m->row.oid, m->kind, e);
    if (rel == NULL)
        return false;
    if (m->kind != MESSAGE_DELETE && !tuple_fits(rel, &m->row.after, e))
        return false;
    if (m->row.before_kind != 0 && !tuple_fits(rel, &m->row.before, e))
        return false;
    if (is_heartbeat(view->options, rel)) {
        *made = beat_from_row(view, rel, m, out);
        return true;
    }
    texts_terminate(&m->row.after);
    texts_terminate(&m->row.before);
    if (m->row.before_kind == 'K')
        key_tuple_clear(rel, m->row.before.values);
    out->kind = m->kind == MESSAGE_INSERT   ? CHANGE_INSERT
                : m->kind == MESSAGE_UPDATE ? CHANGE_UPDATE
                                            : CHANGE_DELETE;
    out->rel = rel;
    out->row.before = m->row.before_kind == 0 ? NULL : m->row.before.values;
    out->row.after = m->kind == MESSAGE_DELETE ? NULL : m->row.after.values;
    *made = true;
    return true;
}

static bool change_truncate(const AssemblerView *view, const Message *m, Change *out, bool *made, Error *e) {
    const Relation **rels = arena_alloc(view->arena, (size_t)m->truncate.count * sizeof *rels);
    uint32_t count = 0;
    for (uint32_t table = 0; table < m->truncate.count; table++) {
        const Relation *rel = relation_of(view, m->truncate.oids[table], m->kind, e);
        if (rel == NULL)
            return false;
        if (!is_heartbeat(view->options, rel))
            rels[count++] = rel;
    }
    out->kind = CHANGE_TRUNCATE;
    out->truncate.rels = rels;
    out->truncate.count = count;
    out->truncate.cascade = m->truncate.cascade;
    out->truncate.restart_identity = m->truncate.restart_identity;
    *made = count > 0;
    return true;
}

static bool starts_with(Slice text, const char *prefix) {
    size_t length = strlen(prefix);
    return text.len >= length && memcmp(text.at, prefix, length) == 0;
}

/* Content of a message beat: "<number> <microseconds since 1970>". */
static bool beat_from_message(const AssemblerView *view, const Message *m, Change *out) {
    size_t length = strlen(BEAT_PREFIX);
    Slice job = {m->logical.prefix.at + length, m->logical.prefix.len - length};
    if (!slice_is(job, view->options->job))
        return false;
    const char *space = memchr(m->logical.content.at, ' ', m->logical.content.len);
    if (space == NULL)
        return false;
    size_t split = (size_t)(space - m->logical.content.at);
    Value number = {VALUE_TEXT, {m->logical.content.at, split}};
    out->kind = CHANGE_BEAT;
    return value_int(&number, &out->beat.number);
}

static bool change_message(const AssemblerView *view, const Message *m, Change *out) {
    if (starts_with(m->logical.prefix, BEAT_PREFIX))
        return beat_from_message(view, m, out);
    if (starts_with(m->logical.prefix, OUR_PREFIX))
        return false;
    out->kind = CHANGE_MESSAGE;
    out->message.prefix = m->logical.prefix;
    out->message.content = m->logical.content;
    out->message.transactional = m->logical.transactional;
    return true;
}

bool assembler_change(const AssemblerView *view, const Message *m, Arrival arrival, uint32_t *seq,
                      Change *out, bool *made, Error *e) {
    *made = false;
    *out = (Change){.seq = *seq, .at = arrival.at};
    switch (m->kind) {
    case MESSAGE_RELATION: return relation_put(view->relations, view->scope, arrival.number, m, e);
    case MESSAGE_TYPE:
    case MESSAGE_ORIGIN: return true;
    case MESSAGE_INSERT:
    case MESSAGE_UPDATE:
    case MESSAGE_DELETE: ++*seq; return change_row(view, m, out, made, e);
    case MESSAGE_TRUNCATE: ++*seq; return change_truncate(view, m, out, made, e);
    case MESSAGE_LOGICAL:
        ++*seq;
        *made = change_message(view, m, out);
        return true;
    default: return fail(e, ERR_PROTOCOL, "message '%c' inside a transaction", (char)m->kind);
    }
}
