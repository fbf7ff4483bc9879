/* sink_file: JSON lines, the reference form (kafka-contract "File sink"): one line a change, values as
 * PostgreSQL's text, unchanged TOAST absent, and a commit line at the end of each transaction. What lies
 * behind the last commit line is no part of the file yet: a start cuts it off. fsync before anything is
 * called durable. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json_text.h"
#include "core/memory.h"
#include "sink/file_position.h"

enum {
    BUFFER_BYTES = 1 << 20,
    LINE_LIMIT = 0x7fffffff,
    BLOCK_BYTES = 1 << 16,
    COMMIT_LINE_BYTES = 80, /* more than the longest one, and the newline in front of it */
    SYNC_EVERY_MS = 500,    /* while changes keep coming; else at once */
    NOTE_EVERY_MS = 1000    /* the position over transactions that leave no line */
};

struct Sink {
    SinkOptions options;
    int file;
    Writer buffer;
    FilePosition noted; /* as <path>.position has it */
    bool has_lines;     /* the transaction that is being written */
    Lsn written;        /* end of the last whole transaction in the buffer or the file */
    Lsn lines_end;      /* end of the last transaction with a commit line there */
    Lsn durable;
    off_t size, synced_size; /* of the file: as written, as it survives a power cut */
    int64_t synced_ms, noted_ms;
};

/* What the file's own lines say. */
typedef struct FileEnd {
    off_t size, complete; /* bytes; up to and with the last commit line */
    Lsn end;              /* of that line's transaction; none: no line */
} FileEnd;

static bool broken(Sink *s, const char *what, Error *e) {
    ErrorKind kind = errno == ENOSPC || errno == EDQUOT ? ERR_RETRY : ERR_CONFIG;
    return fail(e, kind, "cannot %s \"%s\": %s", what, s->options.cfg->file.path, strerror(errno));
}

static void file_close(Sink *s) {
    if (s->file >= 0)
        close(s->file);
    writer_free(&s->buffer);
    free(s);
}

static Sink *file_open(const SinkOptions *options, Error *e) {
    Sink *s = memory_new(sizeof *s);
    s->options = *options;
    s->buffer = writer_new(LINE_LIMIT);
    s->file = open(options->cfg->file.path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (s->file >= 0)
        return s;
    broken(s, "open", e);
    file_close(s);
    return NULL;
}

/* ---- where it stands ---- */

static bool is_commit_line(const char *line, size_t length, Lsn *end) {
    static const char start[] = "{\"lsn\":\"", finish[] = "\"op\":\"commit\"}";
    char text[LSN_TEXT_SIZE];
    if (length < sizeof start + sizeof finish || memcmp(line, start, sizeof start - 1) != 0 ||
        memcmp(line + length - (sizeof finish - 1), finish, sizeof finish - 1) != 0)
        return false;
    const char *lsn = line + sizeof start - 1, *quote = memchr(lsn, '"', length - (sizeof start - 1));
    if (quote == NULL || quote - lsn >= LSN_TEXT_SIZE)
        return false;
    memcpy(text, lsn, (size_t)(quote - lsn));
    text[quote - lsn] = '\0';
    return lsn_parse(text, end);
}

/* The last commit line that lies within text[0, length), whose first line may be a part of one; returns the
 * offset behind it, 0: none. */
static size_t last_commit(const char *text, size_t length, bool from_start, Lsn *end) {
    size_t stop = length;
    while (stop > 0) {
        const char *newline = memrchr(text, '\n', stop);
        if (newline == NULL)
            return 0;
        size_t line_end = (size_t)(newline - text);
        const char *before = memrchr(text, '\n', line_end);
        if (before == NULL && !from_start)
            return 0;
        size_t line_start = before == NULL ? 0 : (size_t)(before - text) + 1;
        if (is_commit_line(text + line_start, line_end - line_start, end))
            return line_end + 1;
        stop = line_end;
    }
    return 0;
}

static bool read_block(Sink *s, char *block, off_t from, size_t length, Error *e) {
    for (size_t got = 0; got < length;) {
        ssize_t part = pread(s->file, block + got, length - got, from + (off_t)got);
        if (part < 0)
            return broken(s, "read", e);
        if (part == 0) /* only while it is looked at without the lock */
            return fail(e, ERR_RETRY, "\"%s\" was cut by another process", s->options.cfg->file.path);
        got += (size_t)part;
    }
    return true;
}

/* From the back, block by block: what a crash left of a large transaction may be long. */
static bool find_end(Sink *s, FileEnd *out, Error *e) {
    char block[BLOCK_BYTES];
    struct stat info;
    if (fstat(s->file, &info) != 0)
        return broken(s, "look at", e);
    *out = (FileEnd){.size = info.st_size};
    off_t stop = info.st_size, from;
    do {
        from = stop > BLOCK_BYTES ? stop - BLOCK_BYTES : 0;
        if (!read_block(s, block, from, (size_t)(stop - from), e))
            return false;
        size_t behind = last_commit(block, (size_t)(stop - from), from == 0, &out->end);
        out->complete = behind > 0 ? from + (off_t)behind : 0;
        stop = from + COMMIT_LINE_BYTES;
    } while (out->complete == 0 && from > 0);
    return true;
}

/* A sink without a record begins where the sinks before it stand, with a file of its own. */
static bool begin(Sink *s, const FileEnd *lines, Error *e) {
    const char *path = s->options.cfg->file.path;
    if (s->options.begin == NULL || lsn_is_none(s->options.begin->applied))
        return fail(e, ERR_LOST, "\"%s.position\" is gone", path);
    if (lines->size > 0) {
        fail(e, ERR_LOST, "\"%s\" is not empty, and \"%s.position\" is gone", path, path);
        return fail_hint(e, "nothing says what the file has: move it away, or choose another file.path");
    }
    s->noted = (FilePosition){.exists = true, .position = *s->options.begin};
    return true;
}

static bool look(Sink *s, FileEnd *lines, Position *out, Error *e) {
    if (!file_position_read(s->options.cfg, &s->noted, e) || !find_end(s, lines, e))
        return false;
    if ((!s->noted.exists || s->noted.intent) && !begin(s, lines, e))
        return false;
    *out = s->noted.position;
    out->applied = lsn_max(out->applied, lines->end);
    out->bound = lsn_max(out->bound, out->applied);
    return true;
}

static bool file_peek(Sink *s, Position *out, Error *e) {
    FileEnd lines;
    return look(s, &lines, out, e);
}

static bool note(Sink *s, Error *e) {
    s->noted_ms = clock_ms();
    return file_position_write(s->options.cfg, &s->noted, e);
}

static bool file_recover(Sink *s, Position *out, Error *e) {
    FileEnd lines;
    if (!file_position_take(s->options.cfg, s->file, e) || !look(s, &lines, out, e))
        return false;
    if (ftruncate(s->file, lines.complete) != 0 || fsync(s->file) != 0)
        return broken(s, "cut", e);
    s->size = s->synced_size = lines.complete;
    s->written = s->durable = s->lines_end = out->applied;
    s->noted.position = *out;
    return note(s, e);
}

static bool file_follow(Sink *s, const Position *now, Error *e) {
    s->noted.position = *now;
    return note(s, e);
}

/* ---- lines ---- */

static bool write_out(Sink *s, Error *e) {
    size_t done = 0;
    while (done < s->buffer.len) {
        ssize_t part = write(s->file, s->buffer.at + done, s->buffer.len - done);
        if (part < 0 && errno != EINTR)
            return broken(s, "write", e);
        done += part > 0 ? (size_t)part : 0;
    }
    s->size += (off_t)done;
    writer_reset(&s->buffer);
    return true;
}

static void write_row(Writer *out, const char *key, const Relation *rel, const Value *values) {
    const char *comma = "";
    writer_format(out, ",\"%s\":", key);
    if (values == NULL) {
        writer_text(out, "null");
        return;
    }
    writer_u8(out, '{');
    for (uint16_t column = 0; column < rel->column_count; column++) {
        if (values[column].kind == VALUE_UNCHANGED || values[column].kind == VALUE_ABSENT)
            continue;
        writer_text(out, comma);
        comma = ",";
        json_text_write(out, slice_text(rel->columns[column].name));
        writer_u8(out, ':');
        if (values[column].kind == VALUE_NULL)
            writer_text(out, "null");
        else
            json_text_write(out, values[column].bytes);
    }
    writer_u8(out, '}');
}

static void write_head(Writer *out, const Transaction *tx, const Change *change, const char *op,
                       const Relation *rel) {
    writer_format(out,
                  "{\"lsn\":\"" LSN_FMT "\",\"seq\":%" PRIu32 ",\"xid\":%" PRIu32 ",\"ts_us\":%" PRId64
                  ",\"op\":\"%s\"",
                  LSN_ARGS(tx->end), change->seq, tx->xid, tx->committed_us, op);
    if (rel == NULL)
        return;
    writer_text(out, ",\"schema\":");
    json_text_write(out, slice_text(rel->schema));
    writer_text(out, ",\"table\":");
    json_text_write(out, slice_text(rel->name));
}

static void write_hex(Writer *out, Slice bytes) {
    for (size_t at = 0; at < bytes.len; at++)
        writer_format(out, "%02x", (unsigned char)bytes.at[at]);
}

/* Its place in the transaction stays its own (trap C2). */
static bool is_left_out(Sink *s, const Relation *rel, ChangeKind kind) {
    if ((selection_choice(s->options.selection, rel->schema, rel->name).takes & 1u << kind) != 0)
        return false;
    if (s->options.cfg->target.dsn == NULL) /* else the database's sink counts them */
        atomic_fetch_add(&s->options.metrics->left_out, 1);
    return true;
}

static void write_change(Sink *s, const Transaction *tx, const Change *change) {
    static const char *const ops[] = {"c", "u", "d"};
    Writer *out = &s->buffer;
    switch (change->kind) {
    case CHANGE_INSERT:
    case CHANGE_UPDATE:
    case CHANGE_DELETE:
        if (is_left_out(s, change->rel, change->kind))
            break;
        write_head(out, tx, change, ops[change->kind], change->rel);
        write_row(out, "before", change->rel, change->row.before);
        write_row(out, "after", change->rel, change->row.after);
        writer_text(out, "}\n");
        break;
    case CHANGE_TRUNCATE: /* one line a table; they share their seq */
        for (uint32_t table = 0; table < change->truncate.count; table++) {
            if (is_left_out(s, change->truncate.rels[table], CHANGE_TRUNCATE))
                continue;
            write_head(out, tx, change, "t", change->truncate.rels[table]);
            writer_text(out, ",\"before\":null,\"after\":null}\n");
        }
        break;
    case CHANGE_MESSAGE:
        write_head(out, tx, change, "m", NULL);
        writer_text(out, ",\"prefix\":");
        json_text_write(out, change->message.prefix);
        writer_text(out, ",\"content_hex\":\"");
        write_hex(out, change->message.content);
        writer_text(out, "\"}\n");
        break;
    case CHANGE_BEAT: break;
    }
}

static bool write_transaction(Sink *s, const Transaction *tx, Error *e) {
    if (tx->begins)
        s->has_lines = false;
    for (uint32_t at = 0; at < tx->count; at++) {
        if (tx->changes[at].kind == CHANGE_BEAT)
            continue;
        size_t before = s->buffer.len;
        write_change(s, tx, &tx->changes[at]);
        s->has_lines = s->has_lines || s->buffer.len > before;
        if (s->buffer.full)
            return fail(e, ERR_LIMIT, "a change of transaction %" PRIu32 " is too large for a line", tx->xid);
        if (s->buffer.len >= BUFFER_BYTES && !write_out(s, e))
            return false;
    }
    if (!tx->ends)
        return true;
    if (s->has_lines) {
        writer_format(&s->buffer, "{\"lsn\":\"" LSN_FMT "\",\"xid\":%" PRIu32 ",\"op\":\"commit\"}\n",
                      LSN_ARGS(tx->end), tx->xid);
        s->lines_end = tx->end;
    }
    s->written = tx->end;
    return true;
}

/* Only where no database tells the same. */
static void tell_metrics(Sink *s, const Batch *b, const Transaction *tx) {
    Metrics *m = s->options.metrics;
    if (s->options.cfg->target.dsn != NULL)
        return;
    uint32_t beats = 0;
    for (uint32_t at = 0; at < tx->count; at++)
        if (tx->changes[at].kind == CHANGE_BEAT) {
            metrics_beat(m, &(BeatStamps){tx->changes[at].beat.number, b->received_us, b->decoded_us,
                                          clock_us(), clock_us()});
            beats++;
        }
    atomic_fetch_add(&m->transactions, tx->ends && tx->count > beats ? 1 : 0);
    atomic_fetch_add(&m->changes, tx->count - beats);
    atomic_store(&m->applied_lsn, s->written.at);
}

static bool file_write(Sink *s, Batch *b, Error *e) {
    for (uint32_t number = 0; number < b->count; number++) {
        const Transaction *tx = &b->transactions[number];
        if (!lsn_before(s->written, tx->end))
            continue;
        if (!write_transaction(s, tx, e))
            return false;
        tell_metrics(s, b, tx);
    }
    return true;
}

/* ---- durable ---- */

/* After a failed fsync the kernel shows bytes that are not on the disk: they are cut off, so that no later
 * start takes them for durable. */
static bool sync_failed(Sink *s, Error *e) {
    broken(s, "sync", e);
    if (ftruncate(s->file, s->synced_size) != 0)
        fail_context(e, "and it cannot be cut back");
    return false;
}

static bool sync_lines(Sink *s, Error *e) {
    if (!write_out(s, e))
        return false;
    if (s->size > s->synced_size && fdatasync(s->file) != 0)
        return sync_failed(s, e);
    s->synced_size = s->size;
    s->synced_ms = clock_ms();
    s->durable = lsn_max(s->durable, s->lines_end);
    return true;
}

static bool file_settle(Sink *s, bool flush, int wait_ms, Lsn *durable, Error *e) {
    bool due = flush || clock_ms() - s->synced_ms >= SYNC_EVERY_MS;
    if (due && !sync_lines(s, e))
        return false;
    bool silent = due && lsn_before(s->durable, s->written); /* its end stands on no line */
    if (silent && (wait_ms > 0 || clock_ms() - s->noted_ms >= NOTE_EVERY_MS)) {
        s->noted.position.applied = s->written;
        s->noted.position.bound = lsn_max(s->noted.position.bound, s->written);
        if (!note(s, e))
            return false;
        s->durable = s->written;
    }
    *durable = s->durable;
    return true;
}

static bool file_promise(Sink *s, Lsn upto, Error *e) {
    s->noted.position.bound = lsn_max(s->noted.position.bound, upto);
    return note(s, e);
}

const SinkOps sink_file = {
    .name = "file",
    .open = file_open,
    .peek = file_peek,
    .recover = file_recover,
    .follow = file_follow,
    .write = file_write,
    .settle = file_settle,
    .promise = file_promise,
    .close = file_close,
};
