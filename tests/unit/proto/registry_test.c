#include "proto/registry.h"

#include <jansson.h>

#include "fake_http.h"
#include "testing.h"

typedef struct Fixture {
    FakeHttp http;
    Registry *registry;
    bool started;
    atomic_bool ends;
    int32_t id;
    Error e;
} Fixture;

static const HttpAnswer GOOD[] = {{.status = 200, .body = "{\"id\": 7}"}, {0}};
static const char PASSWORD[] = "open:sesame";

static int fixture_make(void **state) {
    *state = calloc(1, sizeof(Fixture));
    return *state == NULL ? -1 : 0;
}

static void serve(Fixture *f, const HttpAnswer *answers) {
    http_start(&f->http, answers);
    f->started = true;
}

/* From here on the requests may be read. */
static void settle(Fixture *f) {
    registry_free(f->registry);
    f->registry = NULL;
    if (f->started)
        http_stop(&f->http);
    f->started = false;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    settle(f);
    http_free(&f->http);
    free(f);
    return 0;
}

static bool ending(void *context) {
    return atomic_load(&((Fixture *)context)->ends);
}

static void connect_for(Fixture *f, const char *urls, int timeout_ms) {
    registry_free(f->registry);
    f->registry = registry_new(&(RegistryOptions){.urls = urls, .timeout_ms = timeout_ms}, &f->e);
    if (f->registry == NULL)
        fail_test("%s: %s", urls, f->e.text);
}

static void connect_to(Fixture *f, const char *urls) {
    connect_for(f, urls, 20000);
}

static bool put(Fixture *f, const char *subject, RegistryType type, const char *schema) {
    f->id = -1;
    error_clear(&f->e);
    return registry_register(f->registry, subject, type, slice_text(schema), &f->id, &f->e);
}

static void assert_put(Fixture *f, const char *subject, RegistryType type, const char *schema, int32_t id) {
    if (!put(f, subject, type, schema))
        fail_test("%s: %s", subject, f->e.text);
    assert_int_equal(f->id, id);
}

static void assert_refused(Fixture *f, ErrorKind kind, const char *part) {
    if (put(f, "t-value", REGISTRY_AVRO, "{}"))
        fail_test("an id instead of %s \"%s\"", error_kind_name(kind), part);
    if (f->e.kind != kind || strstr(f->e.text, part) == NULL)
        fail_test("%s error \"%s\" instead of %s \"%s\"", error_kind_name(f->e.kind), f->e.text,
                  error_kind_name(kind), part);
    assert_null(strstr(f->e.text, PASSWORD));
    assert_null(strstr(f->e.hint, PASSWORD));
    assert_int_equal(f->id, -1);
}

static const char *body_of(const Fixture *f, int request) {
    return strstr(f->http.requests[request], "\r\n\r\n") + 4;
}

static void assert_said(const Fixture *f, int request, const char *part, bool wanted) {
    if ((strcasestr(f->http.requests[request], part) != NULL) != wanted)
        fail_test("\"%s\" %s", part, f->http.requests[request]);
}

/* ---- what is sent ---- */

static void a_schema_is_posted_under_its_subject(void **state) {
    Fixture *f = *state;
    serve(f, GOOD);
    connect_to(f, f->http.url);
    assert_put(f, "shop.s.t-value", REGISTRY_AVRO, "{\"type\":\"int\"}\n", 7);
    assert_put(f, "shop.s.t-value", REGISTRY_JSON, "{}", 7);
    assert_put(f, "a b/c%ä?", REGISTRY_PROTOBUF, "syntax", 7);
    settle(f);
    assert_int_equal(f->http.count, 3);
    assert_said(f, 0, "POST /subjects/shop.s.t-value/versions HTTP/1.1\r\n", true);
    assert_said(f, 0, "\r\nContent-Type: application/vnd.schemaregistry.v1+json\r\n", true);
    assert_said(f, 0, "\r\nAuthorization:", false);
    assert_string_equal(body_of(f, 0), "{\"schema\": \"{\\\"type\\\":\\\"int\\\"}\\n\"}");
    assert_string_equal(body_of(f, 1), "{\"schema\": \"{}\", \"schemaType\": \"JSON\"}");
    assert_said(f, 2, "POST /subjects/a%20b%2Fc%25%C3%A4%3F/versions HTTP/1.1\r\n", true);
    assert_string_equal(body_of(f, 2), "{\"schema\": \"syntax\", \"schemaType\": \"PROTOBUF\"}");
}

static void long_schemas_arrive_whole(void **state) {
    Fixture *f = *state;
    Writer schema = writer_new(4 << 20);
    while (schema.len < 3 << 20)
        writer_text(&schema, "\"ä\\\t\x01, ");
    serve(f, GOOD);
    connect_to(f, f->http.url);
    assert_put(f, "t-value", REGISTRY_AVRO, writer_string(&schema), 7);
    settle(f);
    json_t *body = json_loads(body_of(f, 0), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(body, "schema")), writer_string(&schema));
    assert_said(f, 0, "\r\nExpect:", false);
    json_decref(body);
    writer_free(&schema);
}

static void schemas_have_a_limit(void **state) {
    Fixture *f = *state;
    Writer schema = writer_new(32 << 20);
    for (int at = 0; at <= 16 << 20; at++)
        writer_u8(&schema, 'x');
    connect_to(f, "http://127.0.0.1:1");
    assert_false(put(f, "t-value", REGISTRY_AVRO, writer_string(&schema)));
    assert_int_equal(f->e.kind, ERR_LIMIT);
    writer_free(&schema);
}

static void ids_are_asked_for_once(void **state) {
    static const HttpAnswer answers[] = {
        {.status = 200, .body = "{\"id\": 1}"},
        {.status = 200, .body = "{\"id\":2,\"guid\":\"x\",\"schema\":\"{}\"}"},
        {.status = 201, .body = "{\"id\":3}"},
        {.status = 500},
        {.status = 200, .body = "{\"id\":2147483647}"},
        {0}};
    Fixture *f = *state;
    serve(f, answers);
    connect_to(f, f->http.url);
    assert_put(f, "t-value", REGISTRY_AVRO, "{}", 1);
    for (int round = 0; round < 2; round++) {
        assert_put(f, "t-value", REGISTRY_AVRO, "{}", 1);
        assert_put(f, "t-key", REGISTRY_AVRO, "{}", 2);
        assert_put(f, "t-value", REGISTRY_JSON, "{}", 3);
        assert_put(f, "t-value", REGISTRY_AVRO, "{ }", 2147483647); /* a refusal is not kept */
    }
    settle(f);
    assert_int_equal(f->http.count, 5);
}

static void the_login_is_sent_but_never_shown(void **state) {
    static const HttpAnswer answers[] = {
        {.status = 200, .body = "{\"id\": 1}"},
        {.status = 422, .body = "{\"error_code\": 42201, \"message\": \"do not say open:sesame\"}"},
        {0}};
    Fixture *f = *state;
    char url[100];
    serve(f, answers);
    RegistryOptions options = {.urls = f->http.url, .user = "reader", .password = PASSWORD};
    f->registry = registry_new(&options, &f->e);
    assert_put(f, "t-key", REGISTRY_AVRO, "{}", 1);
    assert_refused(f, ERR_DATA, "refuses the schema of \"t-value\": HTTP status 422");
    snprintf(url, sizeof url, "http://reader:open%%3Asesame@127.0.0.1:%d/", f->http.port);
    connect_to(f, url);
    assert_refused(f, ERR_DATA, "refuses the schema of \"t-value\": HTTP status 422");
    settle(f);
    assert_int_equal(f->http.count, 3);
    for (int request = 0; request < 3; request++)
        assert_said(f, request, "\r\nAuthorization: Basic cmVhZGVyOm9wZW46c2VzYW1l\r\n", true);
    connect_to(f, url); /* nobody is there any more */
    assert_refused(f, ERR_RETRY, "schema registry \"http://127.0.0.1:");
    assert_null(strstr(f->e.text, "reader"));
}

/* ---- what comes back ---- */

static void each_answer_has_its_kind(void **state) {
    static const struct {
        HttpAnswer answer;
        ErrorKind kind;
        const char *part;
        int requests;
    } rows[] = {
        {{.status = 409,
          .body = "{\"error_code\":409,\"message\":\"Schema being registered is\\nincompatible\"}"},
         ERR_DATA,
         "refuses the schema of \"t-value\" as incompatible: Schema being registered is incompatible",
         1},
        {{.status = 409, .body = "<html>"}, ERR_DATA, "HTTP status 409", 1},
        {{.status = 401, .body = "{\"error_code\":401,\"message\":\"Unauthorized\"}"},
         ERR_CONFIG,
         "refuses the login: Unauthorized",
         1},
        {{.status = 403}, ERR_CONFIG, "refuses the login: HTTP status 403", 1},
        {{.status = 404, .body = "<html>no such page</html>"},
         ERR_CONFIG,
         "does not answer as a schema registry does: HTTP status 404",
         1},
        {{.status = 405}, ERR_CONFIG, "HTTP status 405", 1},
        {{.status = 422,
          .body = "{\"error_code\":42201,\"message\":\"Input schema is an invalid Avro schema\"}"},
         ERR_DATA,
         "refuses the schema of \"t-value\": Input schema is an invalid",
         1},
        {{.status = 422, .body = "{\"error_code\":42205,\"message\":\"Subject is in read-only mode\"}"},
         ERR_CONFIG,
         "takes no schemas for \"t-value\": Subject is in read-only mode",
         1},
        {{.status = 500, .body = "{\"error_code\":50002,\"message\":\"Operation timed out\"}"},
         ERR_RETRY,
         "Operation timed out",
         3},
        {{.status = 503}, ERR_RETRY, "HTTP status 503", 3},
        {{.status = 429}, ERR_RETRY, "HTTP status 429", 3},
        {{.status = 408}, ERR_RETRY, "HTTP status 408", 3},
        {{.status = 200, .body = "<html>"}, ERR_PROTOCOL, "is not JSON", 1},
        {{.status = 200}, ERR_PROTOCOL, "is not JSON", 1},
        {{.status = 204}, ERR_PROTOCOL, "is not JSON", 1},
        {{.status = 200, .body = "[]"}, ERR_PROTOCOL, "has no id", 1},
        {{.status = 200, .body = "{\"id\": \"7\"}"}, ERR_PROTOCOL, "has no id", 1},
        {{.status = 200, .body = "{\"id\": -1}"}, ERR_PROTOCOL, "has no id", 1},
        {{.status = 200, .body = "{\"id\": 2147483648}"}, ERR_PROTOCOL, "has no id", 1},
        {{.status = 200, .body = "{\"id\": 7.5}"}, ERR_PROTOCOL, "has no id", 1},
        {{.status = 200, .filler = (1 << 20) + 1}, ERR_PROTOCOL, "is larger than 1048576 bytes", 1},
        {{.status = 409, .filler = (1 << 20) + 1}, ERR_PROTOCOL, "is larger than 1048576 bytes", 1},
        {{.status = 200, .body = "{\"id\": 7}", .cut = true}, ERR_RETRY, "schema registry \"http://127", 3},
        {{.status = 1, .raw = "SSH-2.0-OpenSSH_9.2\r\n"}, ERR_PROTOCOL, "schema registry \"http://127", 1},
        {{.status = 1, .raw = ""}, ERR_RETRY, "schema registry \"http://127", 3},
    };
    Fixture *f = *state;
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        const HttpAnswer answers[] = {rows[row].answer, {0}};
        serve(f, answers);
        connect_to(f, f->http.url);
        assert_refused(f, rows[row].kind, rows[row].part);
        assert_int_equal(f->e.connection, rows[row].kind == ERR_RETRY);
        settle(f);
        if (f->http.count < rows[row].requests)
            fail_test("%s: %d requests", rows[row].part, (int)f->http.count);
        if (rows[row].requests == 1)
            assert_int_equal(f->http.count, 1);
        http_free(&f->http);
        f->http.count = 0;
    }
}

static void an_answer_of_a_megabyte_is_taken(void **state) {
    Fixture *f = *state;
    Writer body = writer_new(1 << 20);
    writer_text(&body, "{\"id\": 7");
    while (body.len < (1 << 20) - 1)
        writer_u8(&body, ' ');
    writer_u8(&body, '}');
    const HttpAnswer answers[] = {{.status = 200, .body = writer_string(&body)}, {0}};
    serve(f, answers);
    connect_to(f, f->http.url);
    assert_put(f, "t-key", REGISTRY_AVRO, "{}", 7);
    settle(f);
    writer_free(&body);
}

static void long_reasons_are_cut_between_characters(void **state) {
    Fixture *f = *state;
    Writer body = writer_new(1 << 12);
    writer_text(&body, "{\"message\": \"x");
    for (int at = 0; at < 400; at++)
        writer_text(&body, "ä");
    writer_text(&body, "\"}");
    const HttpAnswer answers[] = {{.status = 409, .body = writer_string(&body)}, {0}};
    serve(f, answers);
    connect_to(f, f->http.url);
    assert_refused(f, ERR_DATA, "xää");
    json_t *text = json_string(f->e.text); /* NULL: not UTF-8 */
    assert_non_null(text);
    json_decref(text);
    settle(f);
    writer_free(&body);
}

static void looking_makes_nothing(void **state) {
    static const struct {
        HttpAnswer answer;
        ErrorKind kind; /* ERR_NONE: it lets us in */
    } rows[] = {
        {{.status = 200, .body = "{\"subject\":\"t-value\",\"version\":1,\"id\":3,\"schema\":\"{}\"}"},
         ERR_NONE},
        {{.status = 404, .body = "{\"error_code\":40401,\"message\":\"Subject not found.\"}"}, ERR_NONE},
        {{.status = 404, .body = "{\"error_code\":40402,\"message\":\"Version not found.\"}"}, ERR_NONE},
        {{.status = 404, .body = "{\"error_code\":404,\"message\":\"HTTP 404 Not Found\"}"}, ERR_CONFIG},
        {{.status = 404, .body = "<html>"}, ERR_CONFIG},
        {{.status = 200, .body = "<html>"}, ERR_PROTOCOL},
        {{.status = 401}, ERR_CONFIG},
        {{.status = 503}, ERR_RETRY},
    };
    Fixture *f = *state;
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        const HttpAnswer answers[] = {rows[row].answer, {0}};
        serve(f, answers);
        connect_to(f, f->http.url);
        error_clear(&f->e);
        bool good = registry_look(f->registry, "a b-value", &f->e);
        if (good != (rows[row].kind == ERR_NONE) || (!good && f->e.kind != rows[row].kind))
            fail_test("row %zu: %s", row, f->e.text);
        settle(f);
        assert_int_equal(f->http.count, 1);
        assert_said(f, 0, "GET /subjects/a%20b-value/versions/latest HTTP/1.1\r\n", true);
        http_free(&f->http);
        f->http.count = 0;
    }
}

/* A question between two schemas leaves nothing behind in the next request. */
static void looking_between_schemas(void **state) {
    Fixture *f = *state;
    serve(f, GOOD);
    connect_to(f, f->http.url);
    assert_put(f, "t-value", REGISTRY_AVRO, "{}", 7);
    assert_true(registry_look(f->registry, "t-value", &f->e));
    assert_put(f, "t-key", REGISTRY_AVRO, "{}", 7);
    settle(f);
    assert_said(f, 1, "GET /subjects/t-value/versions/latest", true);
    assert_string_equal(body_of(f, 1), "");
    assert_said(f, 2, "POST /subjects/t-key/versions", true);
    assert_string_equal(body_of(f, 2), "{\"schema\": \"{}\"}");
}

static void a_schema_is_found_by_its_id(void **state) {
    static const struct {
        HttpAnswer answer;
        const char *text; /* or the error's */
        ErrorKind kind;
        RegistryType type;
    } rows[] = {
        {{.status = 200, .body = "{\"schema\":\"\\\"int\\\"\"}"}, "\"int\"", ERR_NONE, REGISTRY_AVRO},
        {{.status = 200, .body = "{\"schema\":\"{}\",\"schemaType\":\"AVRO\",\"references\":[]}"},
         "{}",
         ERR_NONE,
         REGISTRY_AVRO},
        {{.status = 200, .body = "{\"schema\":\"x\",\"schemaType\":\"PROTOBUF\"}"},
         "x",
         ERR_NONE,
         REGISTRY_PROTOBUF},
        {{.status = 200, .body = "{\"schema\":\"x\",\"schemaType\":\"JSON\"}"}, "x", ERR_NONE, REGISTRY_JSON},
        {{.status = 200, .body = "{\"schema\":\"x\",\"schemaType\":\"XML\"}"},
         "has no schema",
         ERR_PROTOCOL,
         0},
        {{.status = 200, .body = "{\"id\":1}"}, "has no schema", ERR_PROTOCOL, 0},
        {{.status = 200, .body = "<html>"}, "has no schema", ERR_PROTOCOL, 0},
        {{.status = 200, .body = "{\"schema\":\"x\",\"references\":[{\"name\":\"y\"}]}"},
         "refers to others",
         ERR_CONFIG,
         0},
        {{.status = 404, .body = "{\"error_code\":40403,\"message\":\"Schema not found\"}"},
         "knows no schema 2147483647",
         ERR_CONFIG,
         0},
        {{.status = 404, .body = "<html>"}, "does not answer as a schema registry does", ERR_CONFIG, 0},
        {{.status = 401}, "refuses the login", ERR_CONFIG, 0},
    };
    Fixture *f = *state;
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        const HttpAnswer answers[] = {{.status = 503}, rows[row].answer, {0}};
        RegistrySchema schema = {.text = NULL};
        serve(f, answers);
        connect_to(f, f->http.url);
        error_clear(&f->e);
        bool good = registry_schema(f->registry, INT32_MAX, &schema, &f->e);
        if (good != (rows[row].kind == ERR_NONE) ||
            strstr(good ? schema.text : f->e.text, rows[row].text) == NULL)
            fail_test("row %zu: %s", row, f->e.text);
        assert_int_equal(good ? (int)schema.type : (int)f->e.kind,
                         good ? (int)rows[row].type : (int)rows[row].kind);
        free(schema.text);
        settle(f);
        assert_int_equal(f->http.count, 2); /* once again, behind what passes */
        assert_said(f, 1, "GET /schemas/ids/2147483647 HTTP/1.1\r\n", true);
        http_free(&f->http);
        f->http.count = 0;
    }
}

static void redirects_are_not_followed(void **state) {
    Fixture *f = *state;
    FakeHttp other;
    char headers[120];
    http_start(&other, GOOD);
    snprintf(headers, sizeof headers, "Location: %s/subjects/t-value/versions\r\n", other.url);
    const HttpAnswer answers[] = {{.status = 307, .headers = headers}, {0}};
    serve(f, answers);
    RegistryOptions options = {.urls = f->http.url, .user = "reader", .password = PASSWORD};
    f->registry = registry_new(&options, &f->e);
    assert_refused(f, ERR_CONFIG, "sends us elsewhere, which is not followed");
    http_stop(&other);
    assert_int_equal(other.count, 0);
}

/* ---- tries ---- */

static void what_passes_is_tried_again(void **state) {
    static const HttpAnswer answers[] = {
        {.status = 503}, {.status = 1, .raw = ""}, {.status = 200, .body = "{\"id\": 9}"}, {0}};
    Fixture *f = *state;
    serve(f, answers);
    connect_to(f, f->http.url);
    assert_put(f, "t-key", REGISTRY_AVRO, "{}", 9);
    settle(f);
    assert_int_equal(f->http.count, 3);
}

static void another_address_answers_and_is_remembered(void **state) {
    static const HttpAnswer away[] = {{.status = 503}, {0}};
    Fixture *f = *state;
    FakeHttp first;
    char urls[200];
    http_start(&first, away);
    serve(f, GOOD);
    snprintf(urls, sizeof urls, "http://127.0.0.1:1, %s,%s/", first.url, f->http.url);
    connect_to(f, urls);
    assert_put(f, "t-key", REGISTRY_AVRO, "{}", 7);
    assert_put(f, "t-value", REGISTRY_AVRO, "{}", 7);
    settle(f);
    http_stop(&first);
    assert_int_equal(first.count, 1);
    assert_int_equal(f->http.count, 2);
    http_free(&first);
}

static void a_refusal_is_not_taken_to_the_next_address(void **state) {
    static const HttpAnswer refusal[] = {{.status = 409}, {0}};
    Fixture *f = *state;
    FakeHttp first;
    char urls[200];
    http_start(&first, refusal);
    serve(f, GOOD);
    snprintf(urls, sizeof urls, "%s,%s", first.url, f->http.url);
    connect_to(f, urls);
    assert_refused(f, ERR_DATA, "incompatible");
    settle(f);
    http_stop(&first);
    assert_int_equal(f->http.count, 0);
    http_free(&first);
}

static void nobody_answers_for_a_bounded_time(void **state) {
    static const HttpAnswer rows[][2] = {{{.status = 1, .silent = true}, {0}},
                                         {{.status = 200, .filler = 1000, .drips = true}, {0}}};
    Fixture *f = *state;
    for (int row = 0; row < 3; row++) {
        if (row < 2)
            serve(f, rows[row]);
        connect_for(f, row < 2 ? f->http.url : "http://127.0.0.1:1,http://127.0.0.1:2", 1000);
        int64_t begin_ms = clock_ms();
        assert_refused(f, ERR_RETRY, "schema registry \"http://127.0.0.1:");
        assert_true(f->e.connection);
        assert_in_range(clock_ms() - begin_ms, row < 2 ? 2500 : 400, row < 2 ? 5500 : 2500);
        settle(f);
        http_free(&f->http);
        f->http.count = 0;
    }
}

static void *end_later(void *context) {
    clock_sleep_ms(300);
    atomic_store(&((Fixture *)context)->ends, true);
    return NULL;
}

static void a_job_that_stops_leaves_early(void **state) {
    static const HttpAnswer silence[] = {{.status = 1, .silent = true}, {0}};
    Fixture *f = *state;
    pthread_t thread;
    serve(f, silence);
    RegistryOptions options = {.urls = f->http.url, .timeout_ms = 60000, .ending = ending, .context = f};
    f->registry = registry_new(&options, &f->e);
    int64_t begin_ms = clock_ms();
    assert_int_equal(pthread_create(&thread, NULL, end_later, f), 0);
    assert_refused(f, ERR_STOPPED, "stopped");
    assert_in_range(clock_ms() - begin_ms, 250, 3000);
    pthread_join(thread, NULL);
    assert_refused(f, ERR_STOPPED, "stopped");
    settle(f);
    assert_int_equal(f->http.count, 1);
}

/* ---- addresses ---- */

static void addresses_are_looked_at(void **state) {
    static const char *const wrong[] = {
        "",
        "registry:8081",
        "ftp://registry",
        "file:///etc/passwd",
        "http://",
        "http://a:99999",
        "http://a,,http://b",
        "http://a,",
        "http://a/?token=open:sesame",
        "http://a/#b",
        "http://u:open:sesame@a b:x",
        "http://a,http://a,http://a,http://a,http://a,http://a,http://a,http://a,"
        "http://a,http://a,http://a,http://a,http://a,http://a,http://a,http://a,"
        "http://a"};
    Fixture *f = *state;
    for (size_t at = 0; at < sizeof wrong / sizeof *wrong; at++) {
        error_clear(&f->e);
        if (registry_new(&(RegistryOptions){.urls = wrong[at]}, &f->e) != NULL)
            fail_test("\"%s\" was taken", wrong[at]);
        assert_int_equal(f->e.kind, ERR_CONFIG);
        assert_non_null(strstr(f->e.hint, "kafka.registry.url"));
        assert_null(strstr(f->e.text, PASSWORD));
        assert_null(strstr(f->e.hint, PASSWORD));
    }
    serve(f, GOOD);
    char url[100];
    snprintf(url, sizeof url, "%s/api/v2//", f->http.url);
    connect_to(f, url);
    assert_put(f, "t-key", REGISTRY_AVRO, "{}", 7);
    settle(f);
    assert_said(f, 0, "POST /api/v2/subjects/t-key/versions ", true);
}

/* ---- TLS ---- */

typedef struct Certificate {
    char dir[40], certificate[60], key[60];
} Certificate;

/* For 127.0.0.1, signed by itself. */
static void certificate_make(Certificate *c) {
    char command[400];
    *c = (Certificate){.dir = "/tmp/walferry_tls_XXXXXX"};
    assert_non_null(mkdtemp(c->dir));
    snprintf(c->certificate, sizeof c->certificate, "%s/crt", c->dir);
    snprintf(c->key, sizeof c->key, "%s/key", c->dir);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s -out %s -subj "
             "/CN=registry -addext subjectAltName=IP:127.0.0.1 -days 2 2>/dev/null",
             c->key, c->certificate);
    assert_int_equal(system(command), 0);
}

static void certificate_remove(const Certificate *c) {
    remove(c->certificate);
    remove(c->key);
    remove(c->dir);
}

/* openssl says nothing when it is ready. */
static void secure_connect(Fixture *f, const char *urls, const char *ca_file) {
    RegistryOptions options = {
        .urls = urls, .user = "reader", .password = PASSWORD, .ca_file = ca_file, .timeout_ms = 5000};
    registry_free(f->registry);
    f->registry = registry_new(&options, &f->e);
    assert_non_null(f->registry);
    for (int64_t deadline_ms = clock_ms() + 10000; clock_ms() < deadline_ms; clock_sleep_ms(50))
        if (put(f, "t-key", REGISTRY_AVRO, "{}") || f->e.kind != ERR_RETRY)
            return;
}

static void certificates_are_verified(void **state) {
    Fixture *f = *state;
    Certificate mine, other;
    FakeHttp tls;
    char by_name[64];
    certificate_make(&mine);
    certificate_make(&other);
    http_tls_start(&tls, GOOD, mine.certificate, mine.key);
    secure_connect(f, tls.url, mine.certificate);
    if (f->id != 7)
        fail_test("%s", f->e.text);
    secure_connect(f, tls.url, NULL);
    assert_refused(f, ERR_CONFIG, "certificate");
    secure_connect(f, tls.url, other.certificate);
    assert_refused(f, ERR_CONFIG, "certificate");
    secure_connect(f, tls.url, "/nowhere/ca.pem");
    assert_refused(f, ERR_CONFIG, "certificate");
    snprintf(by_name, sizeof by_name, "https://localhost:%d", tls.port);
    secure_connect(f, by_name, mine.certificate);
    assert_refused(f, ERR_CONFIG, "localhost");
    registry_free(f->registry);
    f->registry = NULL;
    http_tls_stop(&tls);
    assert_int_equal(tls.count, 1); /* nothing was said to those that could not be verified */
    http_free(&tls);
    certificate_remove(&mine);
    certificate_remove(&other);
}

static void a_server_without_tls_gets_no_password(void **state) {
    Fixture *f = *state;
    char url[64];
    serve(f, GOOD);
    snprintf(url, sizeof url, "https://127.0.0.1:%d", f->http.port);
    RegistryOptions options = {.urls = url, .user = "reader", .password = PASSWORD};
    f->registry = registry_new(&options, &f->e);
    assert_refused(f, ERR_RETRY, "schema registry \"https://127.0.0.1:");
    settle(f);
    assert_int_equal(f->http.count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_schema_is_posted_under_its_subject),
        TEST(long_schemas_arrive_whole),
        TEST(schemas_have_a_limit),
        TEST(ids_are_asked_for_once),
        TEST(the_login_is_sent_but_never_shown),
        TEST(each_answer_has_its_kind),
        TEST(an_answer_of_a_megabyte_is_taken),
        TEST(long_reasons_are_cut_between_characters),
        TEST(looking_makes_nothing),
        TEST(looking_between_schemas),
        TEST(a_schema_is_found_by_its_id),
        TEST(redirects_are_not_followed),
        TEST(what_passes_is_tried_again),
        TEST(another_address_answers_and_is_remembered),
        TEST(a_refusal_is_not_taken_to_the_next_address),
        TEST(nobody_answers_for_a_bounded_time),
        TEST(a_job_that_stops_leaves_early),
        TEST(addresses_are_looked_at),
        TEST(certificates_are_verified),
        TEST(a_server_without_tls_gets_no_password),
    };
    setenv("no_proxy", "*", 1);
    signal(SIGPIPE, SIG_IGN); /* as the program does: openssl writes without MSG_NOSIGNAL */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
