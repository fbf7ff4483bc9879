#include "job/indexer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/fault.h"
#include "core/limit.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/pause.h"
#include "core/state.h"
#include "snapshot/session.h"

enum {
    FIRST_LOOK_MS =
        3000, /* a session that had to begin anew because a build was in its way comes past it first */
    LOOK_EVERY_MS = 2000,
    CONNECT_MS = 5000
};

static const char SQL_SESSION[] = "SET lock_timeout = '60s'; SET search_path = ''";
/* An index of this name, and whether it is complete. */
static const char SQL_LOOK[] = "SELECT i.indisvalid AND i.indisready FROM pg_catalog.pg_class c JOIN "
                               "pg_catalog.pg_namespace n ON n.oid = "
                               "c.relnamespace LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid WHERE "
                               "n.nspname = $1 AND c.relname = $2";

enum { SQL_LIMIT = 1 << 20 };

struct Indexer {
    Job *job;
    pthread_t thread;
    Pause pause;
    Pg *target;
};

typedef struct Index {
    const char *note, *schema, *name, *create;
} Index;

static bool target_open(Indexer *x) {
    const Config *cfg = x->job->cfg;
    const PgAddress address = {
        .dsn = cfg->target.dsn, .side = "target", .job = cfg->name, .options = SQL_SESSION};
    Error ignored;
    if (x->target != NULL && PQstatus(x->target->conn) == CONNECTION_OK)
        return true;
    pg_close(x->target);
    x->target = pg_open(&address, CONNECT_MS, &ignored);
    if (x->target != NULL && !state_share(x->target, cfg, &ignored)) {
        pg_close(x->target);
        x->target = NULL;
    }
    return x->target != NULL;
}

static bool drop(Indexer *x, const Index *index, Error *e) {
    Writer sql = writer_new(SQL_LIMIT);
    writer_text(&sql, "DROP INDEX CONCURRENTLY IF EXISTS ");
    pg_write_table(&sql, x->target, index->schema, index->name);
    bool ok = session_run(x->target, writer_string(&sql), &x->pause.over, e);
    writer_free(&sql);
    return ok;
}

/* "CREATE [UNIQUE] INDEX …", as pg_get_indexdef writes it. */
static bool create(Indexer *x, const Index *index, Error *e) {
    static const char word[] = "INDEX ";
    const char *at = strstr(index->create, word);
    Writer sql = writer_new(SQL_LIMIT);
    size_t head = at == NULL ? 0 : (size_t)(at - index->create) + strlen(word);
    writer_format(&sql, "%.*sCONCURRENTLY %s", (int)head, index->create, index->create + head);
    log_info("at the target, beside the stream: %s", writer_string(&sql));
    bool ok =
        FAULT("indexer.before_build", e) && session_run(x->target, writer_string(&sql), &x->pause.over, e);
    writer_free(&sql);
    return ok;
}

/* *there: complete. What is not is dropped. */
static bool look(Indexer *x, const Index *index, bool *there, Error *e) {
    const char *const params[] = {index->schema, index->name};
    PGresult *found = pg_query(x->target, SQL_LOOK, 2, params, e);
    bool some = found != NULL && PQntuples(found) > 0;
    *there = some && pg_cell_bool(found, 0, 0);
    bool ok = found != NULL && (!some || *there || drop(x, index, e));
    PQclear(found);
    return ok;
}

static bool settle(Indexer *x, const Index *index, Error *e) {
    bool there;
    int64_t count;
    Error ignored;
    bool ok = look(x, index, &there, e) && (there || create(x, index, e));
    if (!ok && (e->kind == ERR_RETRY || e->kind == ERR_STOPPED || e->connection))
        return false; /* the note stays */
    if (!ok) {
        log_warn("left out at the target: %s (%s)", index->create, e->text);
        drop(x, index, &ignored);
    } else if (!there) {
        log_info("index \"%s.%s\" is made at the target", index->schema, index->name);
    }
    return state_object_forget(x->target, x->job->cfg, index->note, &count, e);
}

/* "schema\nname\nstatement", as the sink has written it. */
static bool note_read(char *text, Index *index) {
    char *name = strchr(text, '\n'), *sql = name == NULL ? NULL : strchr(name + 1, '\n');
    if (sql == NULL)
        return false;
    *name++ = *sql++ = '\0';
    index->schema = text;
    index->name = name;
    index->create = sql;
    return true;
}

static void notes_settle(Indexer *x) {
    Error e;
    PGresult *notes = state_objects(x->target, x->job->cfg, STATE_INDEX_NOTE, &e);
    for (int row = 0; notes != NULL && row < PQntuples(notes) && !atomic_load(&x->pause.over); row++) {
        char *text = memory_text(pg_cell(notes, row, 1));
        Index index = {.note = pg_cell(notes, row, 0)};
        if (note_read(text, &index) && !settle(x, &index, &e))
            log_debug("index \"%s.%s\": %s", index.schema, index.name, e.text);
        free(text);
    }
    PQclear(notes);
}

static void *indexer_thread(void *context) {
    Indexer *x = context;
    for (bool more = pause_for(&x->pause, FIRST_LOOK_MS); more; more = pause_for(&x->pause, LOOK_EVERY_MS))
        if (target_open(x))
            notes_settle(x);
    return NULL;
}

Indexer *indexer_start(Job *job) {
    if (job->cfg->ddl != DDL_APPLY || job->cfg->target.dsn == NULL)
        return NULL;
    Error e;
    Indexer *x = memory_new(sizeof *x);
    x->job = job;
    pause_new(&x->pause);
    int why = pthread_create(&x->thread, NULL, indexer_thread, x);
    if (why == 0)
        return x;
    limit_failed(&e, "make a thread that makes indexes at the target", why);
    log_failure(LOG_WARN, &e);
    pause_free(&x->pause);
    free(x);
    return NULL;
}

void indexer_end(Indexer *x) {
    if (x == NULL)
        return;
    pause_end(&x->pause);
    pthread_join(x->thread, NULL);
    pause_free(&x->pause);
    if (x->target != NULL)
        session_cut(x->target);
    pg_close(x->target);
    free(x);
}
