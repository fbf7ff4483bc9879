#include "proto/registry.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/json_text.h"
#include "core/memory.h"
#include "proto/registry_answer.h"
#include "proto/registry_http.h"

enum {
    TIMEOUT_MS = 10000,
    TRY_LEAST_MS = 1000, /* for one address of many */
    ROUNDS = 3,          /* over all addresses */
    PAUSE_FIRST_MS = 300,
    PAUSE_STEP_MS = 50,
    SCHEMA_BYTES_MAX = 16 << 20
};

/* What was registered, by a hash of subject, type and schema that two of them never share (128 bits). */
typedef struct RegistryId {
    XXH128_hash_t key;
    int32_t id;
    UT_hash_handle hh;
} RegistryId;

struct Registry {
    RegistryHttp http;
    int current; /* the address that answered last */
    int timeout_ms;
    Arena *arena; /* of the ids */
    RegistryId *ids;
};

/* ---- its life ---- */

Registry *registry_new(const RegistryOptions *options, Error *e) {
    Registry *r = memory_new(sizeof *r);
    r->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS;
    r->arena = arena_new();
    registry_http_open(&r->http, options->ca_file, options->ending, options->context);
    if (registry_http_addresses(&r->http, options->urls, options->user, options->password, e))
        return r;
    registry_free(r);
    return NULL;
}

void registry_free(Registry *r) {
    if (r == NULL)
        return;
    registry_http_close(&r->http);
    HASH_CLEAR(hh, r->ids);
    arena_free(r->arena);
    free(r);
}

/* ---- ids that are known ---- */

static XXH128_hash_t key_of(const char *subject, RegistryType type, Slice schema) {
    Writer whole = writer_new(SIZE_MAX);
    writer_format(&whole, "%s%c%d%c", subject, 0, (int)type, 0);
    writer_bytes(&whole, schema);
    XXH128_hash_t key = XXH3_128bits(whole.at, whole.len);
    writer_free(&whole);
    return key;
}

static const RegistryId *id_find(const Registry *r, XXH128_hash_t key) {
    RegistryId *known;
    HASH_FIND(hh, r->ids, &key, sizeof key, known);
    return known;
}

static void id_keep(Registry *r, XXH128_hash_t key, int32_t id) {
    RegistryId *known = arena_alloc(r->arena, sizeof *known);
    known->key = key;
    known->id = id;
    HASH_ADD(hh, r->ids, key, sizeof known->key, known);
}

/* ---- all tries ---- */

typedef struct Request {
    const char *subject;
    char *path;
    Writer body; /* empty: it only looks, or asks for a schema */
    int32_t id;
    RegistrySchema *schema; /* that of the id is wanted; else NULL */
    int64_t deadline_ms;
} Request;

static bool judge(const RegistryAddress *to, const Request *request, const RegistryAnswer *answer,
                  int32_t *id, Error *e) {
    if (request->schema != NULL)
        return registry_answer_judge_schema(to, request->id, answer, request->schema, e);
    return request->body.len > 0 ? registry_answer_judge(to, request->subject, answer, id, e)
                                 : registry_answer_judge_look(to, request->subject, answer, e);
}

static bool try_one(Registry *r, const RegistryAddress *to, const Request *request, int32_t *id, Error *e) {
    int64_t most_ms = r->timeout_ms / r->http.count, left_ms = request->deadline_ms - clock_ms();
    most_ms = most_ms < TRY_LEAST_MS ? TRY_LEAST_MS : most_ms;
    most_ms = most_ms > left_ms ? left_ms : most_ms;
    if (registry_http_is_ending(&r->http))
        return fail(e, ERR_STOPPED, "stopped");
    if (most_ms <= 0)
        return false;
    RegistryAnswer answer = {
        .body = writer_new(request->schema == NULL ? REGISTRY_ANSWER_BYTES_MAX : 2 * SCHEMA_BYTES_MAX)};
    registry_http_ask(&r->http, to, request->path, writer_slice(&request->body), most_ms, &answer);
    bool good = judge(to, request, &answer, id, e);
    writer_free(&answer.body);
    return good;
}

static bool round_of(Registry *r, const Request *request, int32_t *id, Error *e) {
    int first = r->current;
    for (int step = 0; step < r->http.count; step++) {
        int at = (first + step) % r->http.count;
        if (try_one(r, &r->http.addresses[at], request, id, e)) {
            r->current = at;
            return true;
        }
        if (e->kind != ERR_RETRY)
            return false;
    }
    return false;
}

/* Half of it at least, so that not all come back at the same moment. */
static void pause_before(const Registry *r, int round) {
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint32_t)clock_us();
    int64_t longest_ms = PAUSE_FIRST_MS * round;
    int64_t until_ms = clock_ms() + longest_ms / 2 + random % (longest_ms / 2);
    while (clock_ms() < until_ms && !registry_http_is_ending(&r->http))
        clock_sleep_ms(PAUSE_STEP_MS);
}

static bool rounds_of(Registry *r, const Request *request, int32_t *id, Error *e) {
    fail(e, ERR_RETRY, "no schema registry was asked in time");
    bool good = round_of(r, request, id, e);
    for (int round = 1; !good && e->kind == ERR_RETRY && round < ROUNDS; round++) {
        pause_before(r, round);
        good = round_of(r, request, id, e);
    }
    return good;
}

static void body_write(Writer *body, RegistryType type, Slice schema) {
    static const char *const types[] = {
        [REGISTRY_AVRO] = "", /* older registries know no other type, and not its name */
        [REGISTRY_JSON] = ", \"schemaType\": \"JSON\"",
        [REGISTRY_PROTOBUF] = ", \"schemaType\": \"PROTOBUF\"",
    };
    writer_text(body, "{\"schema\": ");
    json_text_write(body, schema);
    writer_format(body, "%s}", types[type]);
}

bool registry_register(Registry *r, const char *subject, RegistryType type, Slice schema, int32_t *id,
                       Error *e) {
    assert(*subject != '\0');
    if (schema.len > SCHEMA_BYTES_MAX)
        return fail(e, ERR_LIMIT, "the schema of \"%s\" is larger than %d bytes", subject, SCHEMA_BYTES_MAX);
    XXH128_hash_t key = key_of(subject, type, schema);
    const RegistryId *known = id_find(r, key);
    if (known != NULL) {
        *id = known->id;
        return true;
    }
    Request request = {.subject = subject,
                       .path = registry_http_path(&r->http, subject, ""),
                       .body = writer_new(SIZE_MAX),
                       .deadline_ms = clock_ms() + (int64_t)ROUNDS * r->timeout_ms};
    body_write(&request.body, type, schema);
    bool good = rounds_of(r, &request, id, e);
    if (good)
        id_keep(r, key, *id);
    free(request.path);
    writer_free(&request.body);
    return good;
}

bool registry_look(Registry *r, const char *subject, Error *e) {
    int32_t id;
    Request request = {.subject = subject,
                       .path = registry_http_path(&r->http, subject, "/latest"),
                       .body = writer_new(1),
                       .deadline_ms = clock_ms() + r->timeout_ms};
    fail(e, ERR_RETRY, "no schema registry was asked in time");
    bool good = round_of(r, &request, &id, e);
    free(request.path);
    writer_free(&request.body);
    return good;
}

bool registry_schema(Registry *r, int32_t id, RegistrySchema *out, Error *e) {
    char path[40];
    int32_t unused;
    snprintf(path, sizeof path, "/schemas/ids/%" PRId32, id);
    Request request = {.path = path,
                       .body = writer_new(1),
                       .id = id,
                       .schema = out,
                       .deadline_ms = clock_ms() + (int64_t)ROUNDS * r->timeout_ms};
    bool good = rounds_of(r, &request, &unused, e);
    writer_free(&request.body);
    return good;
}
