#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "job/control.h"
#include "testing.h"

enum { LONG_LINE = 200 * 1024 };

/* A job that does not run, with a socket in a folder of its own. */
typedef struct Fixture {
    char root[64], folder[80], path[100], name[8];
    Config cfg;
    Job job;
    Control *control;
    Error e;
} Fixture;

static int fixture_make(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->root, sizeof f->root, "/tmp/walferry_control_XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->folder, sizeof f->folder, "%s/deep/walferry", f->root);
    snprintf(f->path, sizeof f->path, "%s/shop.sock", f->folder);
    snprintf(f->name, sizeof f->name, "shop");
    f->cfg.name = f->name;
    f->cfg.control_socket = f->path;
    f->job.cfg = &f->cfg;
    f->job.metrics = metrics_new();
    f->job.throttle = throttle_new();
    f->job.apply_throttle = throttle_new();
    snprintf(f->job.instance, sizeof f->job.instance, "db1, pid 123, since 2026-11-21 09:00:00 UTC");
    log_start(LOG_ERROR, LOG_TEXT);
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    char command[100];
    control_end(f->control);
    metrics_free(f->job.metrics);
    throttle_free(f->job.throttle);
    throttle_free(f->job.apply_throttle);
    snprintf(command, sizeof command, "rm -rf '%s'", f->root);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static void start(Fixture *f) {
    f->control = control_start(&f->job, &f->e);
    assert_string_equal(f->e.text, "");
    assert_non_null(f->control);
}

static json_t *ask(Fixture *f, const char *request) {
    json_t *object = json_loads(request, 0, NULL);
    assert_non_null(object);
    json_t *answer = control_ask(&f->cfg, object, &f->e);
    json_decref(object);
    return answer;
}

static void still_answers(Fixture *f) {
    json_t *answer = ask(f, "{\"command\":\"who\"}");
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
}

static int client(const Fixture *f) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Everything until the server closes. */
static void read_all(int fd, char *out, size_t size) {
    size_t used = 0;
    for (ssize_t got = 1; got > 0 && used + 1 < size; used += got > 0 ? (size_t)got : 0)
        got = read(fd, out + used, size - 1 - used);
    out[used] = '\0';
}

static void read_line(int fd, char *out, size_t size) {
    size_t used = 0;
    do {
        assert_true(used + 1 < size);
        assert_int_equal(read(fd, out + used, 1), 1);
    } while (out[used++] != '\n');
    out[used] = '\0';
}

static void answers_status(void **state) {
    Fixture *f = *state;
    start(f);
    json_t *answer = ask(f, "{\"command\":\"status\"}");
    assert_string_equal(json_string_value(json_object_get(answer, "job")), "shop");
    assert_string_equal(json_string_value(json_object_get(answer, "state")), "running");
    json_decref(answer);
}

static void answers_a_status_of_very_many_tables(void **state) {
    enum { TABLES = 5000 };
    Fixture *f = *state;
    static char names[TABLES][40];
    static const char *pointers[TABLES];
    for (int at = 0; at < TABLES; at++) {
        snprintf(names[at], sizeof names[at], "public.a_table_with_a_name_%d", at);
        pointers[at] = names[at];
    }
    metrics_tables(f->job.metrics, pointers, pointers, TABLES);
    start(f);
    json_t *answer = ask(f, "{\"command\":\"status\"}");
    assert_int_equal(json_array_size(json_object_get(answer, "tables")), TABLES);
    json_decref(answer);
}

static void says_who_it_is(void **state) {
    Fixture *f = *state;
    start(f);
    json_t *answer = ask(f, "{\"command\":\"who\"}");
    assert_string_equal(json_string_value(json_object_get(answer, "instance")), f->job.instance);
    json_decref(answer);
}

static void stop_asks_the_job_to_end(void **state) {
    Fixture *f = *state;
    start(f);
    assert_false(atomic_load(&f->job.stop));
    json_t *answer = ask(f, "{\"command\":\"stop\"}");
    assert_true(json_is_true(json_object_get(answer, "ok")));
    assert_true(atomic_load(&f->job.stop));
    json_decref(answer);
}

static void refused(Fixture *f, const char *request, const char *because) {
    json_t *answer = ask(f, request);
    assert_true(json_is_false(json_object_get(answer, "ok")));
    assert_non_null(strstr(json_string_value(json_object_get(answer, "error")), because));
    json_decref(answer);
}

static void set_changes_what_a_running_job_can_change(void **state) {
    Fixture *f = *state;
    start(f);
    json_t *answer = ask(f, "{\"command\":\"set\",\"key\":\"log.level\",\"value\":\"warn\"}");
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    refused(f, "{\"command\":\"set\",\"key\":\"log.level\",\"value\":\"loud\"}",
            "\"loud\" is no value for log.level, which is one of debug, info, warn, error");
    refused(f, "{\"command\":\"set\",\"key\":\"memory\",\"value\":\"1GiB\"}",
            "\"memory\" cannot be changed while the job runs, only these: log.level, throttle.load.");
    refused(f, "{\"command\":\"set\",\"key\":\"throttle.load.rows\",\"value\":\"1\"}", "is no option");
    refused(f, "{\"command\":\"set\",\"key\":\"throttle.load.rows_per_s\",\"value\":\"1.5\"}",
            "which is a number of 0 to 1000000000");
    json_decref(ask(f, "{\"command\":\"set\",\"key\":\"throttle.load.bytes_per_s\",\"value\":\"2MiB\"}"));
    assert_int_equal(throttle_get(f->job.throttle, THROTTLE_BYTES), 2 << 20);
    json_decref(ask(f, "{\"command\":\"set\",\"key\":\"throttle.apply.rows_per_s\",\"value\":\"9\"}"));
    assert_int_equal(throttle_get(f->job.apply_throttle, THROTTLE_ROWS), 9);
    assert_int_equal(throttle_get(f->job.throttle, THROTTLE_ROWS), 0);
    refused(f, "{\"command\":\"set\",\"key\":\"log.level\"}", "needs a key and a value");
    refused(f, "{\"command\":\"set\",\"key\":1,\"value\":2}", "needs a key and a value");
    refused(f, "{\"command\":\"dance\"}", "unknown command");
    refused(f, "{}", "\"command\" is expected");
}

static void nobody_is_no_error(void **state) {
    Fixture *f = *state;
    f->e.kind = ERR_DATA;
    assert_null(ask(f, "{\"command\":\"who\"}")); /* no folder */
    assert_int_equal(f->e.kind, ERR_NONE);
    start(f);
    control_end(f->control);
    f->control = NULL;
    f->e.kind = ERR_DATA;
    assert_null(ask(f, "{\"command\":\"who\"}")); /* no socket */
    assert_int_equal(f->e.kind, ERR_NONE);
}

static void only_we_may_enter(void **state) {
    Fixture *f = *state;
    struct stat found;
    start(f);
    assert_int_equal(lstat(f->path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_int_equal(lstat(f->folder, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0700);
}

static void the_end_removes_the_socket(void **state) {
    Fixture *f = *state;
    start(f);
    control_end(f->control);
    f->control = NULL;
    assert_int_equal(access(f->path, F_OK), -1);
}

static void the_end_leaves_a_socket_of_somebody_else(void **state) {
    Fixture *f = *state;
    start(f);
    assert_int_equal(unlink(f->path), 0);
    close(open(f->path, O_CREAT | O_WRONLY, 0600));
    control_end(f->control);
    f->control = NULL;
    assert_int_equal(access(f->path, F_OK), 0);
}

static void a_second_run_is_told_who_is_first(void **state) {
    Fixture *f = *state;
    start(f);
    assert_null(control_start(&f->job, &f->e));
    assert_int_equal(f->e.kind, ERR_CONFIG);
    assert_non_null(strstr(f->e.text, f->job.instance));
    still_answers(f);
}

static void a_left_over_socket_is_replaced(void **state) {
    Fixture *f = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    start(f);
    control_end(f->control);
    f->control = NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    close(fd); /* as kill -9 leaves it */
    assert_null(ask(f, "{\"command\":\"who\"}"));
    assert_int_equal(f->e.kind, ERR_NONE);
    start(f);
    still_answers(f);
}

static void garbage_is_answered_once_and_then_dropped(void **state) {
    static const char *const GARBAGE[] = {"hello\n",        "\n",           "[1,2]\n",
                                          "{\"command\"\n", "\xff\xfe{}\n", "{}{}\n"};
    Fixture *f = *state;
    start(f);
    for (size_t at = 0; at < sizeof GARBAGE / sizeof *GARBAGE; at++) {
        char answer[1000];
        int fd = client(f);
        assert_int_equal(write(fd, GARBAGE[at], strlen(GARBAGE[at])), strlen(GARBAGE[at]));
        read_all(fd, answer, sizeof answer);
        assert_non_null(strstr(answer, "\"ok\":false"));
        close(fd);
    }
    still_answers(f);
}

static void one_connection_may_ask_several_times(void **state) {
    Fixture *f = *state;
    static const char WHO[] = "{\"command\":\"who\"}\n";
    char answer[1000];
    start(f);
    int fd = client(f);
    for (int at = 0; at < 3; at++) {
        assert_int_equal(write(fd, WHO, sizeof WHO - 1), sizeof WHO - 1);
        read_line(fd, answer, sizeof answer);
        assert_non_null(strstr(answer, "\"ok\":true"));
    }
    close(fd);
}

static void a_line_without_an_end_is_dropped_at_its_limit(void **state) {
    Fixture *f = *state;
    char *line = malloc(LONG_LINE);
    char rest[100];
    assert_non_null(line);
    memset(line, 'x', LONG_LINE);
    start(f);
    int fd = client(f);
    int64_t began_ms = clock_ms();
    for (int sent = 0, got = 0; sent < LONG_LINE && got >= 0; sent += got)
        got = (int)send(fd, line + sent, (size_t)(LONG_LINE - sent), MSG_NOSIGNAL);
    read_all(fd, rest, sizeof rest);
    assert_string_equal(rest, "");
    assert_true(clock_ms() - began_ms < 1500); /* the limit of bytes, not that of time */
    close(fd);
    free(line);
    still_answers(f);
}

static void a_silent_client_keeps_others_waiting_for_two_seconds_at_most(void **state) {
    Fixture *f = *state;
    start(f);
    int fd = client(f);
    assert_int_equal(write(fd, "{\"comm", 6), 6);
    int64_t began_ms = clock_ms();
    still_answers(f);
    assert_true(clock_ms() - began_ms < 5000);
    close(fd);
}

static void a_client_that_reads_nothing_is_left_behind(void **state) {
    enum { TABLES = 20000 };
    Fixture *f = *state;
    static const char STATUS[] = "{\"command\":\"status\"}\n";
    static const char *names[TABLES];
    for (int at = 0; at < TABLES; at++)
        names[at] = "public.a_table_with_a_name";
    metrics_tables(f->job.metrics, names, names, TABLES);
    start(f);
    int fd = client(f);
    assert_int_equal(write(fd, STATUS, sizeof STATUS - 1), sizeof STATUS - 1);
    still_answers(f);
    close(fd);
}

static void the_end_does_not_wait_for_a_client(void **state) {
    Fixture *f = *state;
    start(f);
    int fd = client(f);
    clock_sleep_ms(50);
    int64_t began_ms = clock_ms();
    control_end(f->control);
    f->control = NULL;
    assert_true(clock_ms() - began_ms < 1000);
    close(fd);
}

static void a_folder_that_others_may_write_is_refused(void **state) {
    Fixture *f = *state;
    start(f);
    assert_int_equal(chmod(f->folder, 0777), 0);
    assert_null(ask(f, "{\"command\":\"who\"}"));
    assert_int_equal(f->e.kind, ERR_CONFIG);
    control_end(f->control);
    f->control = control_start(&f->job, &f->e);
    assert_null(f->control);
    assert_int_equal(f->e.kind, ERR_CONFIG);
    assert_non_null(strstr(f->e.text, f->folder));
}

static void a_folder_that_is_a_link_is_refused(void **state) {
    Fixture *f = *state;
    char real[100];
    snprintf(real, sizeof real, "%s/real", f->root);
    assert_int_equal(mkdir(real, 0700), 0);
    snprintf(f->folder, sizeof f->folder, "%s/link", f->root);
    snprintf(f->path, sizeof f->path, "%s/shop.sock", f->folder);
    assert_int_equal(symlink(real, f->folder), 0);
    assert_null(control_start(&f->job, &f->e));
    assert_int_equal(f->e.kind, ERR_CONFIG);
}

static void a_path_too_long_for_a_socket_is_said(void **state) {
    Fixture *f = *state;
    char path[300];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    f->cfg.control_socket = path;
    assert_null(control_start(&f->job, &f->e));
    assert_int_equal(f->e.kind, ERR_CONFIG);
    assert_non_null(strstr(f->e.hint, "RUNTIME_DIRECTORY"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(answers_status),
        TEST(answers_a_status_of_very_many_tables),
        TEST(says_who_it_is),
        TEST(stop_asks_the_job_to_end),
        TEST(set_changes_what_a_running_job_can_change),
        TEST(nobody_is_no_error),
        TEST(only_we_may_enter),
        TEST(the_end_removes_the_socket),
        TEST(the_end_leaves_a_socket_of_somebody_else),
        TEST(a_second_run_is_told_who_is_first),
        TEST(a_left_over_socket_is_replaced),
        TEST(garbage_is_answered_once_and_then_dropped),
        TEST(one_connection_may_ask_several_times),
        TEST(a_line_without_an_end_is_dropped_at_its_limit),
        TEST(a_silent_client_keeps_others_waiting_for_two_seconds_at_most),
        TEST(a_client_that_reads_nothing_is_left_behind),
        TEST(the_end_does_not_wait_for_a_client),
        TEST(a_folder_that_others_may_write_is_refused),
        TEST(a_folder_that_is_a_link_is_refused),
        TEST(a_path_too_long_for_a_socket_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
