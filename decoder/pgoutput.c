#include "decoder/pgoutput.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"

enum { NAME_BYTES_MAX = 1023, COLUMN_KEY = 1, TRUNCATE_CASCADE = 1, TRUNCATE_RESTART = 2, LOGICAL_IN_TX = 1 };

static const char KINDS[] = "IUDRYTMBCOSEcAbPKrp";
static const char KINDS_WITH_XID_IN_STREAM[] = "IUDRYTM";

typedef struct Decode {
    Reader r;
    DecodeOptions options;
    Arena *arena;
    Message *out;
    Error *e;
} Decode;

/* A frame that ended too early gives zeros, which look wrong in many ways: only the cause is told. */
__attribute__((format(printf, 2, 3))) static bool bad(Decode *d, const char *format, ...) {
    char what[200] = "the frame ends too early";
    if (!d->r.bad) {
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof what, format, args);
        va_end(args);
    }
    return fail(d->e, ERR_PROTOCOL, "pgoutput message \"%c\": %s, at byte %zu of %zu", (char)d->out->kind,
                what, reader_offset(&d->r), (size_t)(d->r.end - d->r.start));
}

static bool kind_in(const char *kinds, uint8_t kind) {
    return kind != 0 && strchr(kinds, kind) != NULL;
}

static bool kind_read(Reader *r, MessageKind *out, Error *e) {
    uint8_t kind = reader_u8(r);
    if (r->bad)
        return fail(e, ERR_PROTOCOL, "empty pgoutput message, at byte 0 of 0");
    if (!kind_in(KINDS, kind))
        return fail(e, ERR_PROTOCOL, "unknown pgoutput message 0x%02x, at byte 0 of %zu", kind,
                    reader_left(r) + 1);
    *out = kind;
    return true;
}

static Lsn lsn_read(Reader *r) {
    return (Lsn){reader_u64(r)};
}

static bool xid_read(Decode *d, uint32_t *out) {
    *out = reader_u32(&d->r);
    return *out != 0 || bad(d, "transaction id 0");
}

static bool time_read(Decode *d, int64_t *out) {
    int64_t since_2000 = (int64_t)reader_u64(&d->r);
    if (__builtin_add_overflow(since_2000, CLOCK_PG_EPOCH_US, out))
        return bad(d, "time %lld is out of range", (long long)since_2000);
    return true;
}

static bool no_flags(Decode *d) {
    uint8_t flags = reader_u8(&d->r);
    return flags == 0 || bad(d, "unknown flags 0x%02x", flags);
}

static bool name_read(Decode *d, Slice *out) {
    *out = reader_text(&d->r);
    if (d->r.bad || out->len == 0 || out->len > NAME_BYTES_MAX)
        return bad(d, "a name of %zu bytes", out->len);
    return true;
}

/* The server leaves out the schema of its own objects. */
static bool schema_read(Decode *d, Slice *out) {
    if (reader_left(&d->r) == 0 || *d->r.at != 0)
        return name_read(d, out);
    reader_u8(&d->r);
    *out = slice_text("pg_catalog");
    return true;
}

/* NULL when there is no whole value at `at`. It works on the bytes themselves, because nearly all bytes of a
 * session pass here. */
static const uint8_t *value_read(const uint8_t *at, const uint8_t *end, Value *out) {
    uint8_t kind = at == end ? 0 : *at++;
    if (kind == 'n' || kind == 'u') {
        *out = (Value){.kind = kind == 'n' ? VALUE_NULL : VALUE_UNCHANGED};
        return at;
    }
    uint32_t len;
    if ((kind != 't' && kind != 'b') || (size_t)(end - at) < sizeof len)
        return NULL;
    memcpy(&len, at, sizeof len);
    len = be32toh(len);
    at += sizeof len;
    if (len > INT32_MAX || len > (size_t)(end - at))
        return NULL;
    *out = (Value){kind == 't' ? VALUE_TEXT : VALUE_BINARY, {(const char *)at, len}};
    return at + len;
}

static bool tuple_read(Decode *d, Tuple *out) {
    uint16_t count = reader_u16(&d->r);
    if (d->r.bad || count > COLUMNS_MAX || count > reader_left(&d->r))
        return bad(d, "a tuple of %u columns", count);
    out->count = count;
    out->values = arena_raw(d->arena, count * sizeof *out->values);
    for (unsigned column = 0; column < count; column++) {
        const uint8_t *next = value_read(d->r.at, d->r.end, &out->values[column]);
        if (next == NULL)
            return bad(d, "column %u is of an unknown kind or longer than the frame", column + 1);
        d->r.at = next;
    }
    return true;
}

static bool row_read(Decode *d) {
    Message *m = d->out;
    m->row.oid = reader_u32(&d->r);
    char kind = (char)reader_u8(&d->r);
    if (m->kind != MESSAGE_INSERT && (kind == 'K' || kind == 'O')) {
        m->row.before_kind = kind;
        if (!tuple_read(d, &m->row.before))
            return false;
        if (m->kind == MESSAGE_DELETE)
            return true;
        kind = (char)reader_u8(&d->r);
    }
    if (kind != 'N' || m->kind == MESSAGE_DELETE)
        return bad(d, "unexpected tuple kind 0x%02x", (uint8_t)kind);
    return tuple_read(d, &m->row.after);
}

static bool column_read(Decode *d, Column *out) {
    uint8_t flags = reader_u8(&d->r);
    Slice name;
    if ((flags & ~COLUMN_KEY) != 0)
        return bad(d, "unknown column flags 0x%02x", flags);
    if (!name_read(d, &name))
        return false;
    out->name = name.at;
    out->type = reader_u32(&d->r);
    out->modifier = (int32_t)reader_u32(&d->r);
    out->key = flags == COLUMN_KEY;
    return true;
}

static bool relation_read(Decode *d) {
    Message *m = d->out;
    m->relation.oid = reader_u32(&d->r);
    if (!schema_read(d, &m->relation.schema) || !name_read(d, &m->relation.name))
        return false;
    uint8_t identity = reader_u8(&d->r);
    if (!kind_in("dnfi", identity))
        return bad(d, "unknown replica identity 0x%02x", identity);
    uint16_t count = reader_u16(&d->r);
    if (d->r.bad || count > COLUMNS_MAX || count > reader_left(&d->r))
        return bad(d, "a relation of %u columns", count);
    m->relation.identity = (char)identity;
    m->relation.column_count = count;
    m->relation.columns = arena_alloc(d->arena, count * sizeof *m->relation.columns);
    for (unsigned column = 0; column < count; column++)
        if (!column_read(d, &m->relation.columns[column]))
            return false;
    return true;
}

static bool type_read(Decode *d) {
    d->out->type.oid = reader_u32(&d->r);
    return schema_read(d, &d->out->type.schema) && name_read(d, &d->out->type.name);
}

static bool truncate_read(Decode *d) {
    Message *m = d->out;
    uint32_t count = reader_u32(&d->r);
    uint8_t options = reader_u8(&d->r);
    if (d->r.bad || (options & ~(TRUNCATE_CASCADE | TRUNCATE_RESTART)) != 0)
        return bad(d, "unknown options 0x%02x", options);
    if (count > reader_left(&d->r) / sizeof(uint32_t))
        return bad(d, "%u relations are longer than the frame", count);
    uint32_t *oids = arena_alloc(d->arena, count * sizeof *oids);
    for (uint32_t relation = 0; relation < count; relation++)
        oids[relation] = reader_u32(&d->r);
    m->truncate.count = count;
    m->truncate.oids = oids;
    m->truncate.cascade = (options & TRUNCATE_CASCADE) != 0;
    m->truncate.restart_identity = (options & TRUNCATE_RESTART) != 0;
    return true;
}

static bool logical_read(Decode *d) {
    Message *m = d->out;
    uint8_t flags = reader_u8(&d->r);
    if ((flags & ~LOGICAL_IN_TX) != 0)
        return bad(d, "unknown flags 0x%02x", flags);
    m->logical.transactional = flags == LOGICAL_IN_TX;
    m->logical.lsn = lsn_read(&d->r);
    m->logical.prefix = reader_text(&d->r);
    m->logical.content = reader_bytes(&d->r, reader_u32(&d->r));
    return true;
}

static bool begin_read(Decode *d) {
    d->out->begin.final = lsn_read(&d->r);
    return time_read(d, &d->out->begin.time_us) && xid_read(d, &d->out->xid);
}

static bool commit_read(Decode *d) {
    if (!no_flags(d))
        return false;
    d->out->commit.commit = lsn_read(&d->r);
    d->out->commit.end = lsn_read(&d->r);
    return time_read(d, &d->out->commit.time_us);
}

static bool stream_commit_read(Decode *d) {
    return xid_read(d, &d->out->xid) && commit_read(d);
}

static bool prepared_read(Decode *d) {
    Message *m = d->out;
    if (m->kind != MESSAGE_BEGIN_PREPARE && !no_flags(d))
        return false;
    Lsn first = lsn_read(&d->r);
    m->commit.end = lsn_read(&d->r);
    if (m->kind == MESSAGE_ROLLBACK_PREPARED) {
        m->commit.prepare_end = first;
        reader_u64(&d->r); /* when it was prepared: of no use to anybody */
    } else {
        m->commit.commit = first;
    }
    if (!time_read(d, &m->commit.time_us) || !xid_read(d, &m->xid))
        return false;
    m->commit.gid = reader_text(&d->r);
    return true;
}

static bool origin_read(Decode *d) {
    d->out->origin.lsn = lsn_read(&d->r);
    d->out->origin.name = reader_text(&d->r);
    return true;
}

static bool stream_start_read(Decode *d) {
    if (!xid_read(d, &d->out->xid))
        return false;
    uint8_t first = reader_u8(&d->r);
    if (first > 1)
        return bad(d, "the first segment's flag is 0x%02x", first);
    d->out->stream_start.first = first == 1;
    return true;
}

static bool stream_abort_read(Decode *d) {
    if (!xid_read(d, &d->out->xid) || !xid_read(d, &d->out->stream_abort.subxid))
        return false;
    if (d->options.abort_has_lsn) {
        d->out->stream_abort.lsn = lsn_read(&d->r);
        reader_u64(&d->r); /* when it was aborted: of no use to anybody */
    }
    return true;
}

static bool body_read(Decode *d) {
    switch (d->out->kind) {
    case MESSAGE_INSERT:
    case MESSAGE_UPDATE:
    case MESSAGE_DELETE: return row_read(d);
    case MESSAGE_RELATION: return relation_read(d);
    case MESSAGE_TYPE: return type_read(d);
    case MESSAGE_TRUNCATE: return truncate_read(d);
    case MESSAGE_LOGICAL: return logical_read(d);
    case MESSAGE_BEGIN: return begin_read(d);
    case MESSAGE_COMMIT: return commit_read(d);
    case MESSAGE_ORIGIN: return origin_read(d);
    case MESSAGE_STREAM_START: return stream_start_read(d);
    case MESSAGE_STREAM_STOP: return true;
    case MESSAGE_STREAM_COMMIT: return stream_commit_read(d);
    case MESSAGE_STREAM_ABORT: return stream_abort_read(d);
    case MESSAGE_BEGIN_PREPARE:
    case MESSAGE_PREPARE:
    case MESSAGE_COMMIT_PREPARED:
    case MESSAGE_ROLLBACK_PREPARED:
    case MESSAGE_STREAM_PREPARE: return prepared_read(d);
    }
    return bad(d, "unknown kind");
}

bool pgoutput_decode(Slice frame, DecodeOptions options, Arena *arena, Message *out, Error *e) {
    *out = (Message){0};
    Decode d = {reader_new(frame), options, arena, out, e};
    if (!kind_read(&d.r, &out->kind, e))
        return false;
    if (options.in_stream && kind_in(KINDS_WITH_XID_IN_STREAM, (uint8_t)out->kind) &&
        !xid_read(&d, &out->xid))
        return false;
    if (!body_read(&d))
        return false;
    if (d.r.bad || reader_left(&d.r) > 0)
        return bad(&d, "%zu bytes too many", reader_left(&d.r));
    return true;
}

bool pgoutput_peek(Slice frame, bool in_stream, MessageKind *kind, uint32_t *xid, Error *e) {
    Message head = {0};
    Decode d = {.r = reader_new(frame), .out = &head, .e = e};
    if (!kind_read(&d.r, &head.kind, e))
        return false;
    if (in_stream && kind_in(KINDS_WITH_XID_IN_STREAM, (uint8_t)head.kind) && !xid_read(&d, &head.xid))
        return false;
    *kind = head.kind;
    *xid = head.xid;
    return true;
}
