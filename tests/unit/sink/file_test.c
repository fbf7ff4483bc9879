#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batches.h"
#include "core/clock.h"
#include "sink/sink.h"
#include "testing.h"

/* A job whose only sink is <dir>/changes.jsonl. */
typedef struct Fixture {
    char dir[32], path[64], position[80], name[8], dsn[8];
    Config cfg;
    Metrics *metrics;
    SinkOptions options;
    Arena *arena;
    Relation *orders, *items;
    Sink *sink;
    Position at; /* as the last recover said */
    Error e;
} Fixture;

static const Position BEGIN = {{1000}, {1500}, 77, 3, {0}};

static int fixture_make(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    bool memory = access("/dev/shm", W_OK) == 0; /* thousands of fsyncs */
    snprintf(f->dir, sizeof f->dir, "%s/walferry_XXXXXX", memory ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/changes.jsonl", f->dir);
    snprintf(f->position, sizeof f->position, "%s.position", f->path);
    strcpy(f->name, "shop");
    f->cfg.name = f->name;
    f->cfg.file.path = f->path;
    f->metrics = metrics_new();
    f->options = (SinkOptions){.cfg = &f->cfg, .metrics = f->metrics, .begin = &BEGIN};
    f->arena = arena_new();
    f->orders = relation_make(f->arena, 0, "sales", "orders", 'd', "id*,v,big");
    f->items = relation_make(f->arena, 1, "sales", "items", 'f', "a,b");
    *state = f;
    return 0;
}

static void sink_end(Fixture *f) {
    if (f->sink != NULL)
        sink_file.close(f->sink);
    f->sink = NULL;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    char fresh[96];
    sink_end(f);
    snprintf(fresh, sizeof fresh, "%s.new", f->position);
    unlink(f->path);
    unlink(f->position);
    unlink(fresh);
    rmdir(f->dir);
    metrics_free(f->metrics);
    arena_free(f->arena);
    free(f);
    return 0;
}

/* ---- the sink's life ---- */

static bool try_start(Fixture *f) {
    sink_end(f);
    f->sink = sink_file.open(&f->options, &f->e);
    assert_non_null(f->sink);
    return sink_file.recover(f->sink, &f->at, &f->e);
}

static void start(Fixture *f) {
    if (!try_start(f))
        fail_test("recover: %s", f->e.text);
}

static void give(Fixture *f, Maker *m) {
    Batch *b = maker_batch(m);
    assert_true(sink_file.write(f->sink, b, &f->e));
    batch_drop(b);
}

static uint64_t settled(Fixture *f, bool flush, int wait_ms) {
    Lsn durable;
    assert_true(sink_file.settle(f->sink, flush, wait_ms, &durable, &f->e));
    return durable.at;
}

/* ---- files ---- */

static char *file_read(const char *path, size_t *size) {
    struct stat info;
    int file = open(path, O_RDONLY);
    assert_true(file >= 0);
    assert_int_equal(fstat(file, &info), 0);
    *size = (size_t)info.st_size;
    char *text = calloc(1, *size + 1);
    assert_int_equal(read(file, text, *size), *size);
    close(file);
    return text;
}

static void file_put(const char *path, const char *text, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, size), size);
    close(file);
}

static void assert_file(const char *path, const char *expected) {
    size_t size;
    char *text = file_read(path, &size);
    assert_string_equal(text, expected);
    free(text);
}

static void assert_in_file(const char *path, const char *part) {
    size_t size;
    char *text = file_read(path, &size);
    if (strstr(text, part) == NULL)
        fail_test("no %s in %s", part, text);
    free(text);
}

/* ---- lines ---- */

static void lines_have_the_reference_form(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(10);
    maker_insert(&m, f->orders, "1|a\"\\\nä|\\N");
    maker_update(&m, f->orders, NULL, "1||?");
    maker_update(&m, f->orders, "1|-|-", "2|b|x");
    maker_delete(&m, f->orders, "2|-|-");
    maker_update(&m, f->items, "1|\\N", "1|y");
    maker_delete(&m, f->items, "1|y");
    maker_truncate(&m, f->orders, f->items, true);
    maker_commit(&m, 4294967295u, 0x100000ABC);
    start(f);
    give(f, &m);
    assert_int_equal(settled(f, true, 0), 0x100000ABC);
#define HEAD(seq, op)                                                                                        \
    "{\"lsn\":\"1/ABC\",\"seq\":" #seq ",\"xid\":4294967295,\"ts_us\":1700004294970044,\"op\":\"" op "\","
#define ORDERS "\"schema\":\"sales\",\"table\":\"orders\","
#define ITEMS  "\"schema\":\"sales\",\"table\":\"items\","
    assert_file(
        f->path, HEAD(0, "c") ORDERS
        "\"before\":null,\"after\":{\"id\":\"1\",\"v\":\"a\\\"\\\\\\nä\",\"big\":null}}\n" HEAD(1, "u") ORDERS
        "\"before\":null,\"after\":{\"id\":\"1\",\"v\":\"\"}}\n" HEAD(2, "u") ORDERS
        "\"before\":{\"id\":\"1\"},\"after\":{\"id\":\"2\",\"v\":\"b\",\"big\":\"x\"}}\n" HEAD(3, "d") ORDERS
        "\"before\":{\"id\":\"2\"},\"after\":null}\n" HEAD(4, "u") ITEMS
        "\"before\":{\"a\":\"1\",\"b\":null},\"after\":{\"a\":\"1\",\"b\":\"y\"}}\n" HEAD(5, "d") ITEMS
        "\"before\":{\"a\":\"1\",\"b\":\"y\"},\"after\":null}\n" HEAD(6, "t") ORDERS
        "\"before\":null,\"after\":null}\n" HEAD(6, "t") ITEMS
        "\"before\":null,\"after\":null}\n"
        "{\"lsn\":\"1/ABC\",\"xid\":4294967295,\"op\":\"commit\"}\n");
}

static void a_message_has_its_content_in_hex(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(1);
    Change *change = maker_add(&m, CHANGE_MESSAGE, NULL);
    change->message.prefix = slice_text("app\"1");
    change->message.content = (Slice){"\x00\xff\x10", 3};
    maker_commit(&m, 5, 0x2000);
    start(f);
    give(f, &m);
    settled(f, true, 0);
    assert_file(f->path, "{\"lsn\":\"0/2000\",\"seq\":0,\"xid\":5,\"ts_us\":1700000000008192,\"op\":\"m\","
                         "\"prefix\":\"app\\\"1\",\"content_hex\":\"00ff10\"}\n"
                         "{\"lsn\":\"0/2000\",\"xid\":5,\"op\":\"commit\"}\n");
}

static void only_transactions_with_lines_have_a_commit_line(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(4);
    maker_commit(&m, 1, 0x2000);
    maker_insert(&m, f->items, "1|x");
    maker_commit(&m, 2, 0x3000);
    maker_beat(&m, 1);
    maker_commit(&m, 3, 0x4000);
    start(f);
    give(f, &m);
    settled(f, true, 0);
    assert_file(
        f->path,
        "{\"lsn\":\"0/3000\",\"seq\":0,\"xid\":2,\"ts_us\":1700000000012288,\"op\":\"c\","
        "\"schema\":\"sales\",\"table\":\"items\",\"before\":null,\"after\":{\"a\":\"1\",\"b\":\"x\"}}\n"
        "{\"lsn\":\"0/3000\",\"xid\":2,\"op\":\"commit\"}\n");
}

static void a_large_transaction_has_one_commit_line_at_its_end(void **state) {
    Fixture *f = *state;
    start(f);
    for (int piece = 0; piece < 3; piece++) {
        Maker m = maker_new(1);
        if (piece < 2) /* the last one brings nothing more */
            maker_insert(&m, f->items, piece == 0 ? "1|x" : "2|y");
        maker_piece(&m, 9, 0x2000, piece == 0, piece == 2);
        assert_int_equal(settled(f, true, 10), 1000);
        give(f, &m);
    }
    assert_int_equal(settled(f, true, 0), 0x2000);
    size_t size;
    char *text = file_read(f->path, &size);
    const char *commit = strstr(text, "\"op\":\"commit\"");
    assert_non_null(commit);
    assert_string_equal(commit, "\"op\":\"commit\"}\n");
    assert_non_null(strstr(text, "\"b\":\"x\""));
    assert_non_null(strstr(text, "\"b\":\"y\""));
    free(text);
}

/* ---- where it stands ---- */

static void a_new_file_begins_where_the_sinks_before_it_stand(void **state) {
    Fixture *f = *state;
    Position seen;
    f->sink = sink_file.open(&f->options, &f->e);
    assert_true(sink_file.peek(f->sink, &seen, &f->e));
    assert_int_equal(access(f->position, F_OK), -1); /* looking writes nothing */
    start(f);
    assert_memory_equal(&seen, &f->at, sizeof seen);
    assert_int_equal(f->at.applied.at, 1000);
    assert_int_equal(f->at.bound.at, 1500);
    assert_int_equal(f->at.system_id, 77);
    assert_int_equal(f->at.timeline, 3);
    assert_int_equal(settled(f, true, 0), 1000);
}

static void a_later_start_reads_its_own_record(void **state) {
    Fixture *f = *state;
    start(f);
    f->options.begin = &(Position){{5}, {5}, 78, 4, {0}};
    start(f);
    assert_int_equal(f->at.applied.at, 1000);
    assert_int_equal(f->at.bound.at, 1500);
    assert_int_equal(f->at.system_id, 77);
    assert_int_equal(f->at.timeline, 3);
}

/* Trap A9: positions beyond the fork are no positions of the new timeline. */
static void a_new_timeline_is_noted_and_the_bound_falls(void **state) {
    Fixture *f = *state;
    start(f);
    Position now = f->at;
    now.timeline = 4;
    now.bound.at = 1200;
    assert_true(sink_file.follow(f->sink, &now, &f->e));
    start(f);
    assert_int_equal(f->at.timeline, 4);
    assert_int_equal(f->at.bound.at, 1200);
    assert_int_equal(f->at.applied.at, 1000);
}

static void what_was_promised_is_in_the_bound_and_not_in_applied(void **state) {
    Fixture *f = *state;
    start(f);
    assert_true(sink_file.promise(f->sink, (Lsn){0x9000}, &f->e));
    assert_in_file(f->position, "\"bound\": \"0/9000\"");
    assert_true(sink_file.promise(f->sink, (Lsn){0x8000}, &f->e));
    start(f);
    assert_int_equal(f->at.applied.at, 1000);
    assert_int_equal(f->at.bound.at, 0x9000);
}

static void transactions_before_the_position_are_skipped(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(3);
    for (uint32_t number = 1; number <= 3; number++) {
        maker_insert(&m, f->items, "1|x");
        maker_commit(&m, number, 500 * number); /* 500, 1000, 1500: it stands at 1000 */
    }
    start(f);
    give(f, &m);
    settled(f, true, 0);
    assert_in_file(f->path, "{\"lsn\":\"0/5DC\"");
    size_t size;
    char *text = file_read(f->path, &size);
    assert_null(strstr(text, "\"xid\":1,"));
    assert_null(strstr(text, "\"xid\":2,"));
    free(text);
}

static void a_lost_position_is_lost(void **state) {
    Fixture *f = *state;
    f->options.begin = &(Position){0};
    assert_false(try_start(f));
    assert_int_equal(f->e.kind, ERR_LOST);
    assert_non_null(strstr(f->e.text, "changes.jsonl.position\" is gone"));
}

static void a_file_without_a_position_is_left_as_it_is(void **state) {
    Fixture *f = *state;
    file_put(f->path, "somebody's notes\n", 17);
    assert_false(try_start(f));
    assert_int_equal(f->e.kind, ERR_LOST);
    assert_file(f->path, "somebody's notes\n");
    assert_int_equal(access(f->position, F_OK), -1);
}

static void a_torn_position_is_refused_at_every_byte(void **state) {
    Fixture *f = *state;
    size_t size;
    start(f);
    sink_end(f);
    char *whole = file_read(f->position, &size);
    for (size_t cut = 0; cut + 1 < size; cut++) { /* the newline at the end may go */
        file_put(f->position, whole, cut);
        assert_false(try_start(f));
        assert_int_equal(f->e.kind, ERR_LOST);
    }
    file_put(f->position, whole, size - 1);
    assert_true(try_start(f));
    free(whole);
}

static void the_position_of_another_job_is_refused(void **state) {
    Fixture *f = *state;
    start(f);
    strcpy(f->name, "other");
    assert_false(try_start(f));
    assert_int_equal(f->e.kind, ERR_LOST);
    assert_non_null(strstr(f->e.text, "is not the position of job \"other\""));
}

static void a_file_that_cannot_be_opened_is_named(void **state) {
    Fixture *f = *state;
    f->cfg.file.path = f->dir;
    assert_null(sink_file.open(&f->options, &f->e));
    assert_int_equal(f->e.kind, ERR_CONFIG);
    assert_non_null(strstr(f->e.text, f->dir));
}

static void a_second_process_is_refused(void **state) {
    Fixture *f = *state;
    start(f);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        Position at;
        Error e;
        Sink *second = sink_file.open(&f->options, &e);
        bool refused = second != NULL && !sink_file.recover(second, &at, &e) && e.kind == ERR_CONFIG;
        _exit(refused ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    sink_end(f);
    start(f);
}

/* ---- durable ---- */

static void nothing_is_durable_before_it_was_settled(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(1);
    maker_insert(&m, f->items, "1|x");
    maker_commit(&m, 1, 0x2000);
    start(f);
    settled(f, true, 0);
    give(f, &m);
    assert_int_equal(settled(f, false, 0), 1000);
    assert_int_equal(settled(f, true, 0), 0x2000);
}

static void under_steady_load_it_becomes_durable_all_the_same(void **state) {
    Fixture *f = *state;
    start(f);
    int64_t began_ms = clock_ms();
    for (uint32_t number = 1; settled(f, false, 0) == 1000; number++) {
        Maker m = maker_new(1);
        maker_insert(&m, f->items, "1|x");
        maker_commit(&m, number, 0x2000 + number);
        give(f, &m);
        clock_sleep_ms(5);
        assert_true(clock_ms() - began_ms < 5000);
    }
}

/* Their end stands on no line: it must be in the position before it is called durable, or a start would find
 * the slot beyond it. */
static void empty_transactions_and_beats_move_the_position_through_the_record(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(1);
    maker_commit(&m, 1, 0x2000);
    maker_beat(&m, 1);
    maker_commit(&m, 2, 0x3000);
    start(f);
    give(f, &m);
    assert_int_equal(settled(f, false, 0), 1000);
    assert_int_equal(settled(f, true, 0), 1000); /* noted at most once a second */
    assert_in_file(f->position, "\"applied\": \"0/3E8\"");
    assert_int_equal(settled(f, true, 10), 0x3000);
    assert_in_file(f->position, "\"applied\": \"0/3000\"");
    start(f);
    assert_int_equal(f->at.applied.at, 0x3000);
    assert_int_equal(f->at.bound.at, 0x3000);
    assert_file(f->path, "");
}

static void an_open_transaction_makes_no_silent_one_durable(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(2);
    maker_insert(&m, f->items, "1|x");
    maker_commit(&m, 1, 0x2000);
    maker_commit(&m, 2, 0x3000); /* silent */
    maker_insert(&m, f->items, "2|y");
    maker_piece(&m, 3, 0x4000, true, false);
    start(f);
    give(f, &m);
    assert_int_equal(settled(f, true, 0), 0x2000);
    assert_in_file(f->position, "\"applied\": \"0/3E8\"");
    assert_int_equal(settled(f, true, 10), 0x3000);
    assert_in_file(f->position, "\"applied\": \"0/3000\"");
    start(f); /* the piece is cut off */
    assert_int_equal(f->at.applied.at, 0x3000);
}

static void a_job_with_this_sink_alone_counts_for_the_metrics(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(3);
    maker_insert(&m, f->items, "1|x");
    maker_insert(&m, f->items, "2|x");
    maker_beat(&m, 42);
    maker_commit(&m, 1, 0x2000);
    start(f);
    give(f, &m);
    assert_int_equal(atomic_load(&f->metrics->applied_lsn), 0x2000);
    assert_int_equal(atomic_load(&f->metrics->transactions), 1);
    assert_int_equal(f->metrics->beat.number, 42);
    strcpy(f->dsn, "host=x");
    f->cfg.target.dsn = f->dsn; /* then the database's sink tells */
    Maker again = maker_new(1);
    maker_beat(&again, 43);
    maker_commit(&again, 2, 0x3000);
    give(f, &again);
    assert_int_equal(atomic_load(&f->metrics->applied_lsn), 0x2000);
    assert_int_equal(f->metrics->beat.number, 42);
}

/* ---- crashes ---- */

/* The same batches every time: small transactions, silent ones, a large one in pieces. */
static Batch *story_batch(Fixture *f, int chapter) {
    Maker m = maker_new(8);
    switch (chapter) {
    case 0:
        maker_insert(&m, f->orders, "1|a|x");
        maker_commit(&m, 1, 0x2000);
        maker_commit(&m, 2, 0x2100);
        maker_insert(&m, f->items, "1|{\"op\":\"commit\"}");
        maker_update(&m, f->items, "1|{\"op\":\"commit\"}", "2|\n");
        maker_commit(&m, 3, 0x2200);
        break;
    case 1:
        maker_insert(&m, f->orders, "2|b|y");
        maker_piece(&m, 4, 0x3000, true, false);
        break;
    case 2:
        maker_delete(&m, f->orders, "2|-|-");
        maker_piece(&m, 4, 0x3000, false, true);
        maker_truncate(&m, f->orders, f->items, false);
        maker_commit(&m, 5, 0x3100);
        break;
    default:
        maker_insert(&m, f->items, "\\N|\\N");
        maker_commit(&m, 6, 0x4000);
        maker_beat(&m, 1);
        maker_commit(&m, 7, 0x4100);
        break;
    }
    return maker_batch(&m);
}
enum { CHAPTERS = 4 };

static void tell_story(Fixture *f) {
    for (int chapter = 0; chapter < CHAPTERS; chapter++) {
        Batch *b = story_batch(f, chapter);
        assert_true(sink_file.write(f->sink, b, &f->e));
        batch_drop(b);
        settled(f, true, 0);
    }
}

/* Bytes up to and with the last commit line that ends within `cut`. */
static size_t whole_transactions(const char *text, size_t cut) {
    static const char ending[] = ",\"op\":\"commit\"}\n";
    size_t whole = 0;
    for (const char *at = text; (at = strstr(at, ending)) != NULL; at++)
        if ((size_t)(at - text) + sizeof ending - 1 <= cut)
            whole = (size_t)(at - text) + sizeof ending - 1;
    return whole;
}

static void a_start_cuts_at_a_transaction_and_a_replay_gives_the_same_bytes(void **state) {
    Fixture *f = *state;
    size_t size, position_size, found;
    start(f);
    char *first_position = file_read(f->position, &position_size);
    tell_story(f);
    sink_end(f);
    char *story = file_read(f->path, &size);
    assert_int_equal(whole_transactions(story, size), size);
    for (size_t cut = 0; cut <= size; cut++) {
        file_put(f->path, story, cut);
        file_put(f->position, first_position, position_size);
        start(f);
        char *left = file_read(f->path, &found);
        assert_int_equal(found, whole_transactions(story, cut));
        assert_memory_equal(left, story, found);
        free(left);
        tell_story(f);
        assert_true(settled(f, true, 10) == 0x4100);
        sink_end(f);
        char *again = file_read(f->path, &found);
        if (found != size || memcmp(again, story, size) != 0)
            fail_test("cut at %zu: another file after the replay", cut);
        free(again);
    }
    free(story);
    free(first_position);
}

/* Longer than the pieces in which the end of the file is read; the commit line before it stands at every
 * place of such a piece. */
static void the_last_commit_is_found_behind_a_long_torn_transaction(void **state) {
    Fixture *f = *state;
    static const char commit[] = "{\"lsn\":\"0/2000\",\"xid\":1,\"op\":\"commit\"}\n";
    enum { TORN = 3 << 16, SPREAD = 200 };
    start(f);
    sink_end(f);
    char *text = malloc(sizeof commit + TORN + SPREAD);
    memcpy(text, commit, sizeof commit - 1);
    memset(text + sizeof commit - 1, 'x', TORN + SPREAD);
    for (size_t torn = TORN - SPREAD; torn < TORN + SPREAD; torn++) {
        file_put(f->path, text, sizeof commit - 1 + torn);
        start(f);
        assert_int_equal(f->at.applied.at, 0x2000);
        sink_end(f);
        assert_file(f->path, commit);
    }
    free(text);
}

static void a_line_that_only_looks_like_a_commit_is_none(void **state) {
    Fixture *f = *state;
    static const char *const lines[] = {
        "{\"lsn\":\"0/2000\",\"xid\":1,\"op\":\"commit\"}",
        "{\"lsn\":\"0/2000\",\"xid\":1,\"op\":\"commit\"}}\n",
        "{\"after\":{\"lsn\":\"0/2000\",\"op\":\"commit\"}\n",
        "{\"lsn\":\"0/20000000000000000000000000\",\"xid\":1,\"op\":\"commit\"}\n",
        "{\"lsn\":\"zero\",\"xid\":1,\"op\":\"commit\"}\n",
        "\n\n",
    };
    start(f);
    for (size_t line = 0; line < sizeof lines / sizeof *lines; line++) {
        sink_end(f);
        file_put(f->path, lines[line], strlen(lines[line]));
        start(f);
        assert_int_equal(f->at.applied.at, 1000);
        assert_file(f->path, "");
    }
}

/* What is in the file and not in a whole transaction was never there. */
static void a_process_that_dies_leaves_whole_transactions(void **state) {
    Fixture *f = *state;
    start(f);
    sink_end(f);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (try_start(f))
            for (int chapter = 0; chapter < 2; chapter++) {
                Batch *b = story_batch(f, chapter);
                if (!sink_file.write(f->sink, b, &f->e))
                    _exit(1);
                settled(f, true, 0);
                batch_drop(b);
            }
        _exit(0); /* without closing anything */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    start(f);
    assert_int_equal(f->at.applied.at, 0x2200);
    size_t size;
    char *text = file_read(f->path, &size);
    assert_int_equal(whole_transactions(text, size), size);
    assert_null(strstr(text, "\"xid\":4,"));
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(lines_have_the_reference_form),
        TEST(a_message_has_its_content_in_hex),
        TEST(only_transactions_with_lines_have_a_commit_line),
        TEST(a_large_transaction_has_one_commit_line_at_its_end),
        TEST(a_new_file_begins_where_the_sinks_before_it_stand),
        TEST(a_later_start_reads_its_own_record),
        TEST(a_new_timeline_is_noted_and_the_bound_falls),
        TEST(what_was_promised_is_in_the_bound_and_not_in_applied),
        TEST(transactions_before_the_position_are_skipped),
        TEST(a_lost_position_is_lost),
        TEST(a_file_without_a_position_is_left_as_it_is),
        TEST(a_torn_position_is_refused_at_every_byte),
        TEST(the_position_of_another_job_is_refused),
        TEST(a_file_that_cannot_be_opened_is_named),
        TEST(a_second_process_is_refused),
        TEST(nothing_is_durable_before_it_was_settled),
        TEST(under_steady_load_it_becomes_durable_all_the_same),
        TEST(empty_transactions_and_beats_move_the_position_through_the_record),
        TEST(an_open_transaction_makes_no_silent_one_durable),
        TEST(a_job_with_this_sink_alone_counts_for_the_metrics),
        TEST(a_start_cuts_at_a_transaction_and_a_replay_gives_the_same_bytes),
        TEST(the_last_commit_is_found_behind_a_long_torn_transaction),
        TEST(a_line_that_only_looks_like_a_commit_is_none),
        TEST(a_process_that_dies_leaves_whole_transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
