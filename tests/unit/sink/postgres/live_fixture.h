/* live_fixture: an apply sink on a private server, and an eye on what it does there. */
#ifndef WALFERRY_TESTS_SINK_LIVE_FIXTURE_H
#define WALFERRY_TESTS_SINK_LIVE_FIXTURE_H

#include "batches.h"
#include "core/state.h"
#include "server.h"
#include "sink/sink.h"
#include "testing.h"

typedef struct Fixture {
    Server *server;
    char name[8], slot[16], schema[12];
    Config cfg;
    Metrics *metrics;
    Arena *arena;
    Pg *eye;
    Sink *sink;
    Position at; /* as the last recover said */
    uint32_t relations;
    Error e;
} Fixture;

enum { POINT = 0x1000 }; /* where the job was born */

static inline void run(Fixture *f, const char *sql) {
    Error e;
    if (!pg_run(f->eye, sql, &e))
        fail_test("%s: %s", sql, e.text);
}

/* The one value that the query gives. */
static inline void assert_value(Fixture *f, const char *sql, const char *expected) {
    char found[2000];
    Error e;
    if (!pg_value(f->eye, sql, 0, NULL, found, sizeof found, &e))
        fail_test("%s: %s", sql, e.text);
    if (strcmp(found, expected) != 0)
        fail_test("%s: \"%s\" instead of \"%s\"", sql, found, expected);
}

static inline void assert_said(const Fixture *f, ErrorKind kind, const char *part) {
    if (f->e.kind != kind || strstr(f->e.text, part) == NULL)
        fail_test("%s error \"%s\" instead of %s \"%s\"", error_kind_name(f->e.kind), f->e.text,
                  error_kind_name(kind), part);
}

static inline int live_make(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    f->server = *state;
    strcpy(f->name, "shop");
    strcpy(f->slot, "dts_sync_shop");
    strcpy(f->schema, "walferry");
    f->cfg.name = f->name;
    f->cfg.slot = f->slot;
    f->cfg.target.dsn = f->server->dsn;
    f->cfg.target.state_schema = f->schema;
    f->cfg.memory_bytes = 128 << 20;
    f->metrics = metrics_new();
    f->arena = arena_new();
    PgAddress to = {.dsn = f->server->dsn, .side = "target", .job = "eye"};
    f->eye = pg_open(&to, 5000, &f->e);
    *state = f;
    if (f->eye == NULL)
        return -1;
    run(f, "DROP SCHEMA IF EXISTS s CASCADE; DROP SCHEMA IF EXISTS walferry CASCADE; CREATE SCHEMA s");
    return 0;
}

static inline int live_free_fixture(void **state) {
    Fixture *f = *state;
    Server *server = f->server;
    if (f->sink != NULL)
        sink_apply.close(f->sink);
    pg_close(f->eye);
    metrics_free(f->metrics);
    arena_free(f->arena);
    free(f);
    *state = server;
    return 0;
}

/* ---- the job ---- */

/* s.<name>, named with commas between, in table_state as pending. */
static inline Selection *selection_make(Fixture *f, const char *names) {
    Selection *selection = arena_alloc(f->arena, sizeof *selection);
    selection->tables = arena_alloc(f->arena, 16 * sizeof(Table));
    char *rest = arena_text(f->arena, slice_text(names));
    for (char *name; (name = strsep(&rest, ",")) != NULL && *name != '\0';)
        selection->tables[selection->count++] = (Table){.schema = "s", .name = name, .full_name = name};
    return selection;
}

static inline void loaded(Fixture *f, const char *name, uint64_t start) {
    Table table = {.schema = "s", .name = name, .full_name = name};
    assert_true(state_table_loaded(f->eye, &f->cfg, &table, (Lsn){start}, 1, 1, &f->e));
}

static inline void born(Fixture *f, const char *tables) {
    Selection *selection = selection_make(f, tables);
    assert_true(state_open(f->eye, &f->cfg, &f->e));
    assert_true(state_intend(f->eye, &f->cfg, 77, 3, "here", &f->e));
    assert_true(state_born(f->eye, &f->cfg, (Lsn){POINT}, selection, &f->e));
    assert_true(state_schema_made(f->eye, &f->cfg, &f->e));
}

/* ---- the sink ---- */

static inline bool try_start(Fixture *f) {
    SinkOptions options = {.cfg = &f->cfg, .metrics = f->metrics};
    if (f->sink != NULL)
        sink_apply.close(f->sink);
    f->sink = sink_apply.open(&options, &f->e);
    return f->sink != NULL && sink_apply.recover(f->sink, &f->at, &f->e);
}

static inline void start(Fixture *f) {
    if (!try_start(f))
        fail_test("start: %s", f->e.text);
}

/* Makes the tables, whose job is born with them loaded at POINT, and starts the sink. */
static inline void start_with(Fixture *f, const char *ddl, const char *tables) {
    run(f, ddl);
    born(f, tables);
    char *rest = arena_text(f->arena, slice_text(tables));
    for (char *name; (name = strsep(&rest, ",")) != NULL && *name != '\0';)
        loaded(f, name, POINT);
    start(f);
}

static inline Relation *relation(Fixture *f, const char *name, char identity, const char *columns) {
    return relation_make(f->arena, f->relations++, "s", name, identity, columns);
}

static inline bool write_batch(Fixture *f, Maker *m) {
    Batch *b = maker_batch(m);
    bool ok = sink_apply.write(f->sink, b, &f->e);
    batch_drop(b);
    return ok;
}

static inline bool try_settle(Fixture *f, bool flush, int wait_ms, uint64_t *durable) {
    Lsn at = LSN_NONE;
    bool ok = sink_apply.settle(f->sink, flush, wait_ms, &at, &f->e);
    *durable = at.at;
    return ok;
}

static inline uint64_t settled(Fixture *f, bool flush, int wait_ms) {
    uint64_t durable;
    if (!try_settle(f, flush, wait_ms, &durable))
        fail_test("settle: %s", f->e.text);
    return durable;
}

/* Written and committed. */
static inline void apply(Fixture *f, Maker *m) {
    if (!write_batch(f, m))
        fail_test("write: %s", f->e.text);
    settled(f, true, 0);
}

/* Refused, now or at the commit. */
static inline void apply_refused(Fixture *f, Maker *m) {
    uint64_t durable;
    error_clear(&f->e);
    assert_false(write_batch(f, m) && try_settle(f, true, 0, &durable));
}

/* ---- the program ---- */

static inline int group_start(void **state) {
    static Server server;
    *state = &server;
    return server_start(&server) ? 0 : -1;
}

static inline int group_stop(void **state) {
    server_stop(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, live_make, live_free_fixture)

#endif
