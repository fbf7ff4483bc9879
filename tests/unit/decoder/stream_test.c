#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/clock.h"
#include "decoder/stream.h"
#include "fake_server.h"

#include <cmocka.h> /* last: it makes a macro of "fail" */

static const StreamOptions OPTIONS = {.slot = "dts_sync_shop",
                                      .publications = "\"a\",\"o'b\"",
                                      .start = {0x16B374D848},
                                      .binary = true,
                                      .messages = true,
                                      .sender_timeout_ms = 60000};

static Stream *open_at(const FakeServer *f, const StreamOptions *options, Error *e) {
    const PgAddress to = {.dsn = f->dsn, .side = "source", .job = "shop", .replication = true};
    Pg *pg = pg_open(&to, 5000, e);
    assert_non_null(pg);
    return stream_open(pg, options, e);
}

static void stream_begin(FakeServer *f) {
    fake_send(f, 'W', (Slice){"\0\0\0", 3});
}

/* Stays until the client has gone. */
static void client_wait(FakeServer *f) {
    char byte;
    while (fake_read(f, &byte, 1))
        ;
}

static void quiet_serve(FakeServer *f, const char *statement) {
    (void)statement;
    stream_begin(f);
    client_wait(f);
}

static void start_asks_for_what_the_version_knows(void **state) {
    (void)state;
    static const struct {
        const char *version, *options;
        bool aborts_have_lsn, whole;
    } cases[] = {
        {"12.0", "\"proto_version\" '1', \"publication_names\" '\"a\",\"o''b\"')", false, false},
        {"13.23", "\"proto_version\" '1', \"publication_names\" '\"a\",\"o''b\"')", false, false},
        {"14.9",
         "\"proto_version\" '2', \"publication_names\" '\"a\",\"o''b\"', \"streaming\" 'on', \"binary\" "
         "'true', "
         "\"messages\" 'true')",
         false, false},
        {"15.4",
         "\"proto_version\" '3', \"publication_names\" '\"a\",\"o''b\"', \"streaming\" 'on', \"binary\" "
         "'true', "
         "\"messages\" 'true')",
         false, false},
        {"18.0",
         "\"proto_version\" '4', \"publication_names\" '\"a\",\"o''b\"', \"streaming\" 'parallel', "
         "\"binary\" 'true', \"messages\" 'true', \"origin\" 'any')",
         true, false},
        {"18.0",
         "\"proto_version\" '4', \"publication_names\" '\"a\",\"o''b\"', \"binary\" 'true', \"messages\" "
         "'true', "
         "\"origin\" 'any')",
         false, true},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeServer f = {.version = cases[n].version, .take_over = quiet_serve};
        StreamOptions options = OPTIONS;
        char command[600];
        Error e;
        options.whole = cases[n].whole;
        fake_start(&f);
        Stream *s = open_at(&f, &options, &e);
        assert_non_null(s);
        assert_int_equal(stream_aborts_have_lsn(s), cases[n].aborts_have_lsn);
        stream_close(s);
        fake_stop(&f);
        snprintf(command, sizeof command, "START_REPLICATION SLOT \"dts_sync_shop\" LOGICAL 16/B374D848 (%s",
                 cases[n].options);
        bool streams = strstr(cases[n].options, "streaming") != NULL;
        assert_string_equal(f.statements[streams ? 2 : 1], command);
        assert_int_equal(strstr(f.statements[1], "'logical_decoding_work_mem'") != NULL, streams);
        fake_free(&f);
    }
}

static void status_is_due_in_a_third_of_the_timeout(void **state) {
    (void)state;
    static const int64_t cases[][2] = {{0, 10000}, {60000, 10000}, {30000, 10000}, {2000, 666}, {3, 10}};
    FakeServer f = {.take_over = quiet_serve};
    fake_start(&f);
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        StreamOptions options = OPTIONS;
        Error e;
        options.sender_timeout_ms = cases[n][0];
        Stream *s = open_at(&f, &options, &e);
        assert_non_null(s);
        assert_int_equal(stream_status_every_ms(s), cases[n][1]);
        stream_close(s);
    }
    fake_stop(&f);
    fake_free(&f);
}

static void refused_start_is_classified(void **state) {
    (void)state;
    static const struct {
        const char *sqlstate, *message;
        ErrorKind kind;
    } cases[] = {
        {"55006", "replication slot \"dts_sync_shop\" is active for PID 71", ERR_RETRY},
        {"42704", "replication slot \"dts_sync_shop\" does not exist", ERR_LOST},
        {"55000", "can no longer get changes from replication slot \"dts_sync_shop\"", ERR_LOST},
        {"55000", "cannot read from logical replication slot \"dts_sync_shop\"", ERR_LOST},
        {"55000", "logical decoding requires wal_level >= logical", ERR_CONFIG},
        {"0A000", "client sent proto_version=4 but server only supports protocol 3 or lower", ERR_CONFIG},
        {"XX000", "unrecognized pgoutput option: origin", ERR_CONFIG},
        {"XX000", "could not map filenode", ERR_RETRY},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeRule rules[] = {
            {.contains = "START_REPLICATION", .sqlstate = cases[n].sqlstate, .message = cases[n].message},
            {0}};
        FakeServer f = {.rules = rules};
        Error e;
        fake_start(&f);
        assert_null(open_at(&f, &OPTIONS, &e));
        fake_stop(&f);
        assert_int_equal(e.kind, cases[n].kind);
        assert_non_null(strstr(e.text, cases[n].message));
        fake_free(&f);
    }
}

static void frames_serve(FakeServer *f, const char *statement) {
    (void)statement;
    stream_begin(f);
    fake_send(f, 'd', (Slice){"w\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0\0Bxyz", 29});
    fake_send(f, 'd', (Slice){"w\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\0", 25});
    fake_send(f, 'd', (Slice){"k\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\0\1", 18});
    fake_send(f, 'd', (Slice){"k\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\0\0", 18});
    fake_send(f, 'c', (Slice){"", 0});
    client_wait(f);
}

static void frames_are_told_apart(void **state) {
    (void)state;
    FakeServer f = {.take_over = frames_serve};
    Frame frame;
    Error e;
    fake_start(&f);
    Stream *s = open_at(&f, &OPTIONS, &e);
    assert_non_null(s);
    assert_true(stream_read(s, 5000, &frame, &e));
    assert_int_equal(frame.kind, FRAME_DATA);
    assert_true(slice_is(frame.bytes, "Bxyz"));
    assert_int_equal(frame.wal_end.at, 0x200000003);
    assert_true(frame.memory_bytes >= 29);
    PQfreemem(frame.memory);
    assert_true(stream_read(s, 5000, &frame, &e));
    assert_int_equal(frame.kind, FRAME_DATA);
    assert_int_equal(frame.bytes.len, 0);
    PQfreemem(frame.memory);
    for (uint64_t n = 5; n <= 6; n++) {
        assert_true(stream_read(s, 5000, &frame, &e));
        assert_int_equal(frame.kind, FRAME_KEEPALIVE);
        assert_int_equal(frame.wal_end.at, n);
        assert_int_equal(frame.reply_wanted, n == 5);
    }
    for (int n = 0; n < 2; n++) {
        assert_true(stream_read(s, 5000, &frame, &e));
        assert_int_equal(frame.kind, FRAME_END);
    }
    assert_true(stream_status(s, (Lsn){6}, (Lsn){6}, false, &e));
    stream_close(s);
    fake_stop(&f);
    fake_free(&f);
}

/* Bytes that are no frame; static, because the server's thread sends them. */
static Slice damaged;

static void damaged_serve(FakeServer *f, const char *statement) {
    (void)statement;
    stream_begin(f);
    fake_send(f, 'd', damaged);
    client_wait(f);
}

static void damaged_frames_are_refused(void **state) {
    (void)state;
    static const Slice cases[] = {{"w\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0", 24},
                                  {"k\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\0", 17},
                                  {"k\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\0\1\1", 19},
                                  {"z\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\0\1", 18},
                                  {"w", 1}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeServer f = {.take_over = damaged_serve};
        Frame frame;
        Error e;
        damaged = cases[n];
        fake_start(&f);
        Stream *s = open_at(&f, &OPTIONS, &e);
        assert_non_null(s);
        assert_false(stream_read(s, 5000, &frame, &e));
        assert_int_equal(e.kind, ERR_PROTOCOL);
        stream_close(s);
        fake_stop(&f);
        fake_free(&f);
    }
}

static const char *failure[3]; /* severity, SQLSTATE, message */

static void failing_serve(FakeServer *f, const char *statement) {
    (void)statement;
    stream_begin(f);
    fake_error(f, failure[0], failure[1], failure[2]);
    if (strcmp(failure[0], "ERROR") == 0) {
        fake_ready(f);
        client_wait(f);
    }
}

static void errors_in_the_stream_are_classified(void **state) {
    (void)state;
    static const struct {
        const char *failure[3];
        ErrorKind kind;
        bool connection;
    } cases[] = {
        {{"FATAL", "57P01", "terminating connection due to administrator command"}, ERR_RETRY, true},
        {{"ERROR", "42704", "publication \"dts_sync_shop\" does not exist"}, ERR_LOST, false},
        {{"ERROR", "58P01", "requested WAL segment 000000010000000000000001 has already been removed"},
         ERR_LOST,
         false},
        {{"ERROR", "54000", "a limit of the server"}, ERR_CONFIG, false},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeServer f = {.take_over = failing_serve};
        Frame frame;
        Error e;
        memcpy(failure, cases[n].failure, sizeof failure);
        fake_start(&f);
        Stream *s = open_at(&f, &OPTIONS, &e);
        assert_non_null(s);
        assert_false(stream_read(s, 5000, &frame, &e));
        assert_int_equal(e.kind, cases[n].kind);
        assert_int_equal(e.connection, cases[n].connection);
        assert_non_null(strstr(e.text, cases[n].failure[2]));
        stream_close(s);
        fake_stop(&f);
        fake_free(&f);
    }
}

static void vanishing_serve(FakeServer *f, const char *statement) {
    (void)statement;
    stream_begin(f);
}

static void lost_connection_is_retried(void **state) {
    (void)state;
    FakeServer f = {.take_over = vanishing_serve};
    Frame frame;
    Error e;
    fake_start(&f);
    Stream *s = open_at(&f, &OPTIONS, &e);
    assert_non_null(s);
    assert_false(stream_read(s, 5000, &frame, &e));
    assert_int_equal(e.kind, ERR_RETRY);
    assert_true(e.connection);
    stream_finish(s, (Lsn){1}, (Lsn){1}, 5000);
    fake_stop(&f);
    fake_free(&f);
}

static void reading_waits_only_as_long_as_told(void **state) {
    (void)state;
    FakeServer f = {.take_over = quiet_serve};
    Frame frame;
    Error e;
    fake_start(&f);
    Stream *s = open_at(&f, &OPTIONS, &e);
    assert_non_null(s);
    int64_t began_ms = clock_ms();
    assert_true(stream_read(s, 0, &frame, &e));
    assert_int_equal(frame.kind, FRAME_NONE);
    assert_true(clock_ms() - began_ms < 1000);
    began_ms = clock_ms();
    assert_true(stream_read(s, 100, &frame, &e));
    assert_int_equal(frame.kind, FRAME_NONE);
    assert_true(clock_ms() - began_ms >= 100 && clock_ms() - began_ms < 2000);
    stream_close(s);
    fake_stop(&f);
    fake_free(&f);
}

/* What the client sent behind START_REPLICATION. */
static char received[200];
static size_t received_size;
static char received_kinds[8];

static void listening_serve(FakeServer *f, const char *statement) {
    (void)statement;
    char *body, kind;
    size_t size, count = 0;
    received_size = 0;
    memset(received_kinds, 0, sizeof received_kinds);
    stream_begin(f);
    while ((kind = fake_message(f, &body, &size)) != 0 && count < sizeof received_kinds - 1) {
        received_kinds[count++] = kind;
        for (size_t n = 0; kind == 'd' && n < size; n++)
            received[received_size++] = body[n];
        free(body);
        if (kind != 'c')
            continue;
        fake_send(f, 'd', (Slice){"w\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0\0Bxyz", 29});
        fake_send(f, 'c', (Slice){"", 0});
        fake_text(f, 'C', "COPY 0");
        fake_ready(f);
    }
}

static void status_has_the_servers_form(void **state) {
    (void)state;
    FakeServer f = {.take_over = listening_serve};
    Error e;
    fake_start(&f);
    Stream *s = open_at(&f, &OPTIONS, &e);
    assert_non_null(s);
    assert_true(stream_status(s, (Lsn){0x123456789abcdef0}, (Lsn){0x11}, true, &e));
    stream_finish(s, (Lsn){0x20}, (Lsn){0x1f}, 5000);
    fake_stop(&f);
    assert_string_equal(received_kinds, "ddcX");
    assert_int_equal(received_size, 68);
    Reader r = reader_new((Slice){received, received_size});
    assert_int_equal(reader_u8(&r), 'r');
    assert_true(reader_u64(&r) == 0x123456789abcdef0);
    assert_true(reader_u64(&r) == 0x11 && reader_u64(&r) == 0x11);
    int64_t age_us = clock_wall_us() - CLOCK_PG_EPOCH_US - (int64_t)reader_u64(&r);
    assert_true(age_us >= 0 && age_us < 60000000);
    assert_int_equal(reader_u8(&r), 1);
    assert_int_equal(reader_u8(&r), 'r');
    assert_true(reader_u64(&r) == 0x20 && reader_u64(&r) == 0x1f && reader_u64(&r) == 0x1f);
    reader_u64(&r);
    assert_int_equal(reader_u8(&r), 0);
    fake_free(&f);
}

/* F92: a server of which nothing is heard between two statuses is asked; still nothing, and it is given up. */
static void silent_server_is_asked(void **state) {
    (void)state;
    FakeServer f = {.take_over = listening_serve};
    Error e;
    fake_start(&f);
    Stream *s = open_at(&f, &OPTIONS, &e);
    assert_non_null(s);
    assert_true(stream_status(s, (Lsn){1}, (Lsn){1}, false, &e));
    assert_true(stream_status(s, (Lsn){2}, (Lsn){2}, false, &e));
    stream_finish(s, (Lsn){3}, (Lsn){3}, 5000);
    fake_stop(&f);
    assert_string_equal(received_kinds, "dddcX");
    assert_int_equal(received[33], 0);
    assert_int_equal(received[34 + 33], 1);
    assert_int_equal(received[68 + 33], 0);
    fake_free(&f);
}

static void finish_does_not_wait_for_ever(void **state) {
    (void)state;
    FakeServer f = {.take_over = quiet_serve};
    Error e;
    fake_start(&f);
    Stream *s = open_at(&f, &OPTIONS, &e);
    assert_non_null(s);
    int64_t began_ms = clock_ms();
    stream_finish(s, (Lsn){1}, (Lsn){1}, 200);
    assert_true(clock_ms() - began_ms >= 200 && clock_ms() - began_ms < 3000);
    fake_stop(&f);
    fake_free(&f);
}

/* Released by the test, so that the server's end of the socket stays full until then. */
static atomic_bool deaf;

static void deaf_serve(FakeServer *f, const char *statement) {
    (void)statement;
    stream_begin(f);
    while (atomic_load(&deaf))
        clock_sleep_ms(5);
    client_wait(f);
}

static void full_socket_does_not_block_a_status(void **state) {
    (void)state;
    FakeServer f = {.take_over = deaf_serve};
    Error e;
    int64_t longest_ms = 0;
    atomic_store(&deaf, true);
    fake_start(&f);
    Stream *s = open_at(&f, &OPTIONS, &e);
    assert_non_null(s);
    for (int n = 0; n < 1000000 && longest_ms < 500; n++) {
        int64_t began_ms = clock_ms();
        assert_true(stream_status(s, (Lsn){1}, (Lsn){1}, false, &e));
        longest_ms = clock_ms() - began_ms;
    }
    assert_true(longest_ms >= 500 && longest_ms < 5000);
    atomic_store(&deaf, false);
    assert_true(stream_status(s, (Lsn){2}, (Lsn){2}, false, &e));
    stream_close(s);
    fake_stop(&f);
    fake_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_asks_for_what_the_version_knows),
        cmocka_unit_test(status_is_due_in_a_third_of_the_timeout),
        cmocka_unit_test(refused_start_is_classified),
        cmocka_unit_test(frames_are_told_apart),
        cmocka_unit_test(damaged_frames_are_refused),
        cmocka_unit_test(errors_in_the_stream_are_classified),
        cmocka_unit_test(lost_connection_is_retried),
        cmocka_unit_test(reading_waits_only_as_long_as_told),
        cmocka_unit_test(status_has_the_servers_form),
        cmocka_unit_test(silent_server_is_asked),
        cmocka_unit_test(finish_does_not_wait_for_ever),
        cmocka_unit_test(full_socket_does_not_block_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
