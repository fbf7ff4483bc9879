/* Any bytes are refused or are a message whose every part can be read. The first byte of the input chooses
 * the options: bit 0 in_stream, bit 1 abort_has_lsn; the rest is the frame. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "decoder/pgoutput.h"
#include "decoder/relation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sum; /* so that no read is left out */

static void touch(Slice frame, Slice view) {
    if (view.len > 0 && !slice_is(view, "pg_catalog"))
        assert(view.at >= frame.at && view.at + view.len <= frame.at + frame.len);
    for (size_t byte = 0; byte < view.len; byte++)
        sum += (uint8_t)view.at[byte];
}

static void touch_tuple(Slice frame, const Tuple *tuple) {
    assert(tuple->count <= COLUMNS_MAX);
    for (unsigned column = 0; column < tuple->count; column++)
        touch(frame, tuple->values[column].bytes);
}

/* As a session does: announce it, look it up, and announce it again. */
static void touch_relation(Slice frame, const Message *m) {
    RelationCache *cache = relation_cache_new();
    RelationScope *scope = relation_scope_new();
    Error e = {0};
    assert(relation_put(cache, scope, 1, m, &e));
    relation_scope_promote(cache, scope);
    const Relation *rel = relation_get(cache, NULL, m->relation.oid);
    assert(rel == relation_get(cache, scope, m->relation.oid) &&
           rel->column_count == m->relation.column_count);
    for (unsigned column = 0; column < rel->column_count; column++) {
        assert(strcmp(rel->columns[column].name, m->relation.columns[column].name) == 0);
        touch(frame, slice_text(m->relation.columns[column].name));
    }
    assert(relation_put(cache, NULL, 2, m, &e) && relation_versions(cache) == 1);
    relation_scope_free(scope);
    relation_cache_free(cache);
    touch(frame, m->relation.schema);
    touch(frame, m->relation.name);
}

static void touch_message(Slice frame, const Message *m) {
    switch (m->kind) {
    case MESSAGE_INSERT:
    case MESSAGE_UPDATE:
    case MESSAGE_DELETE:
        touch_tuple(frame, &m->row.before);
        touch_tuple(frame, &m->row.after);
        break;
    case MESSAGE_RELATION: touch_relation(frame, m); break;
    case MESSAGE_TYPE:
        touch(frame, m->type.schema);
        touch(frame, m->type.name);
        break;
    case MESSAGE_TRUNCATE:
        for (uint32_t relation = 0; relation < m->truncate.count; relation++)
            sum += m->truncate.oids[relation];
        break;
    case MESSAGE_LOGICAL:
        touch(frame, m->logical.prefix);
        touch(frame, m->logical.content);
        break;
    case MESSAGE_ORIGIN: touch(frame, m->origin.name); break;
    case MESSAGE_BEGIN_PREPARE:
    case MESSAGE_PREPARE:
    case MESSAGE_COMMIT_PREPARED:
    case MESSAGE_ROLLBACK_PREPARED:
    case MESSAGE_STREAM_PREPARE: touch(frame, m->commit.gid); break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    DecodeOptions options = {.in_stream = (data[0] & 1) != 0, .abort_has_lsn = (data[0] & 2) != 0};
    Slice frame = {(const char *)data + 1, size - 1};
    Arena *arena = arena_new();
    Message m;
    Error e = {0};
    MessageKind kind;
    uint32_t xid;
    if (pgoutput_decode(frame, options, arena, &m, &e)) {
        touch_message(frame, &m);
        assert(pgoutput_peek(frame, options.in_stream, &kind, &xid, &e) && kind == m.kind);
        assert(xid == 0 || xid == m.xid);
    } else {
        assert(e.kind == ERR_PROTOCOL && strstr(e.text, "at byte ") != NULL);
    }
    arena_free(arena);
    return 0;
}
