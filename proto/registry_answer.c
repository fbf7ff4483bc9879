/* What the answers of a schema registry mean (Confluent's "Schema Registry API Reference": its error codes begin with the
 * HTTP status). */
#include "proto/registry_answer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

enum {
    REASON_BYTES_MAX = 300,
    NO_SUBJECT = 40401,
    NO_VERSION = 40402,
    NO_SCHEMA = 40403,
    NOT_PERMITTED = 42205
};

/* In one line, without what would be two characters cut in the middle. */
static void line_copy(char *out, size_t size, const char *text) {
    size_t length = strnlen(text, size - 1);
    while (length > 0 && text[length] != '\0' && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    for (size_t at = 0; at < length; at++)
        out[at] = (unsigned char)text[at] < ' ' ? ' ' : text[at];
    out[length] = '\0';
}

typedef struct Reason {
    int64_t code; /* the registry's own, finer than the status; 0: none */
    char text[REASON_BYTES_MAX];
} Reason;

/* What the registry says of its refusal; a text that repeats the password is not shown. */
static Reason reason_read(const RegistryAnswer *answer, const RegistryAddress *from) {
    Reason reason = {.code = 0};
    json_t *root = json_loadb(answer->body.len == 0 ? "" : answer->body.at, answer->body.len, 0, NULL);
    const char *text = json_string_value(json_object_get(root, "message"));
    bool secret = from->password != NULL && *from->password != '\0' && text != NULL &&
                  strstr(text, from->password) != NULL;
    reason.code = json_integer_value(json_object_get(root, "error_code"));
    if (text != NULL && *text != '\0' && !secret)
        line_copy(reason.text, sizeof reason.text, text);
    else
        snprintf(reason.text, sizeof reason.text, "HTTP status %ld", answer->status);
    json_decref(root);
    return reason;
}

static bool id_read(const RegistryAddress *from, const RegistryAnswer *answer, int32_t *id, Error *e) {
    json_t *root = json_loadb(answer->body.len == 0 ? "" : answer->body.at, answer->body.len, 0, NULL);
    const json_t *found = json_object_get(root, "id");
    json_int_t number = json_integer_value(found);
    bool good = json_is_integer(found) && number >= 0 && number <= INT32_MAX;
    bool json = root != NULL;
    json_decref(root);
    if (good)
        *id = (int32_t)number;
    return good || fail(e, ERR_PROTOCOL, "schema registry \"%s\": its answer %s", from->url,
                        json ? "has no id of a schema" : "is not JSON");
}

static bool again(const RegistryAddress *from, const char *why, Error *e) {
    fail(e, ERR_RETRY, "schema registry \"%s\": %s", from->url, why);
    e->connection = true;
    return fail_hint(e, "check kafka.registry.url, and that the registry runs");
}

static bool refused_by_us(const RegistryAddress *from, const char *why, Error *e) {
    fail(e, ERR_CONFIG, "schema registry \"%s\": %s", from->url, why);
    return fail_hint(e, "check kafka.registry.url and the certificate's authority");
}

/* There was no answer. */
static bool transfer_failed(const RegistryAddress *from, const RegistryAnswer *answer, Error *e) {
    char why[REASON_BYTES_MAX];
    line_copy(why, sizeof why, *answer->why != '\0' ? answer->why : curl_easy_strerror(answer->code));
    switch (answer->code) {
    case CURLE_ABORTED_BY_CALLBACK: return fail(e, ERR_STOPPED, "stopped");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER: return refused_by_us(from, why, e);
    case CURLE_WRITE_ERROR:
        return fail(e, ERR_PROTOCOL, "schema registry \"%s\": its answer is larger than %zu bytes", from->url,
                    answer->body.limit);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_OUT_OF_MEMORY: /* said of headers beyond curl's limit, too */
        return fail(e, ERR_PROTOCOL, "schema registry \"%s\": %s", from->url, why);
    default: return again(from, why, e);
    }
}

static bool login_refused(const RegistryAddress *from, const Reason *reason, Error *e) {
    fail(e, ERR_CONFIG, "schema registry \"%s\" refuses the login: %s", from->url, reason->text);
    return fail_hint(
        e, "check kafka.registry.user and kafka.registry.password, and what this user may do there");
}

static bool is_no_registry(const RegistryAddress *from, const Reason *reason, Error *e) {
    fail(e, ERR_CONFIG, "\"%s\" does not answer as a schema registry does: %s", from->url, reason->text);
    return fail_hint(e, "check kafka.registry.url: host, port and path");
}

static bool redirected(const RegistryAddress *from, const Reason *reason, Error *e) {
    fail(e, ERR_CONFIG, "schema registry \"%s\" sends us elsewhere, which is not followed: %s", from->url,
         reason->text);
    return fail_hint(e, "name the final address in kafka.registry.url");
}

static bool is_incompatible(const char *subject, const Reason *reason, Error *e) {
    fail(e, ERR_DATA, "the schema registry refuses the schema of \"%s\" as incompatible: %s", subject,
         reason->text);
    return fail_hint(e, "relax the compatibility of this subject at the registry (PUT /config/%s)", subject);
}

static bool is_refused(const char *subject, const Reason *reason, Error *e) {
    if (reason->code == NOT_PERMITTED) { /* the subject, or all of it, is read-only */
        fail(e, ERR_CONFIG, "the schema registry takes no schemas for \"%s\": %s", subject, reason->text);
        return fail_hint(e, "set its mode to READWRITE (PUT /mode)");
    }
    return fail(e, ERR_DATA, "the schema registry refuses the schema of \"%s\": %s", subject, reason->text);
}

bool registry_answer_judge(const RegistryAddress *from, const char *subject, const RegistryAnswer *answer,
                           int32_t *id, Error *e) {
    if (answer->code != CURLE_OK)
        return transfer_failed(from, answer, e);
    if (answer->status >= 200 && answer->status < 300)
        return id_read(from, answer, id, e);
    Reason reason = reason_read(answer, from);
    if (answer->status >= 500 || answer->status == 408 || answer->status == 429)
        return again(from, reason.text, e);
    if (answer->status >= 300 && answer->status < 400)
        return redirected(from, &reason, e);
    switch (answer->status) {
    case 401:
    case 403: return login_refused(from, &reason, e);
    case 409: return is_incompatible(subject, &reason, e);
    case 422: return is_refused(subject, &reason, e);
    default: return is_no_registry(from, &reason, e);
    }
}

bool registry_answer_judge_look(const RegistryAddress *from, const char *subject,
                                const RegistryAnswer *answer, Error *e) {
    int32_t id;
    if (answer->code == CURLE_OK && answer->status == 404) {
        int64_t code = reason_read(answer, from).code;
        if (code == NO_SUBJECT || code == NO_VERSION)
            return true;
    }
    return registry_answer_judge(from, subject, answer, &id, e);
}

/* ---- a schema by its id ---- */

static bool type_read(const json_t *root, RegistryType *out) {
    const json_t *said = json_object_get(root, "schemaType");
    const char *type = said == NULL ? "AVRO" : json_string_value(said);
    static const char *const types[] = {
        [REGISTRY_AVRO] = "AVRO", [REGISTRY_JSON] = "JSON", [REGISTRY_PROTOBUF] = "PROTOBUF"};
    for (size_t at = 0; type != NULL && at < sizeof types / sizeof *types; at++)
        if (strcmp(type, types[at]) == 0) {
            *out = (RegistryType)at;
            return true;
        }
    return false;
}

static bool schema_read(const RegistryAddress *from, int32_t id, const RegistryAnswer *answer,
                        RegistrySchema *out, Error *e) {
    json_t *root = json_loadb(answer->body.len == 0 ? "" : answer->body.at, answer->body.len, 0, NULL);
    const char *text = json_string_value(json_object_get(root, "schema"));
    bool whole = json_array_size(json_object_get(root, "references")) == 0;
    bool good = text != NULL && type_read(root, &out->type);
    if (!good)
        fail(e, ERR_PROTOCOL, "schema registry \"%s\": its answer has no schema", from->url);
    else if (!whole)
        good = fail(e, ERR_CONFIG, "schema %" PRId32 " of the registry refers to others, which are not read",
                    id);
    else
        out->text = memory_text(text);
    json_decref(root);
    return good;
}

bool registry_answer_judge_schema(const RegistryAddress *from, int32_t id, const RegistryAnswer *answer,
                                  RegistrySchema *out, Error *e) {
    int32_t unused;
    if (answer->code == CURLE_OK && answer->status == 404 && reason_read(answer, from).code == NO_SCHEMA) {
        fail(e, ERR_CONFIG, "schema registry \"%s\" knows no schema %" PRId32, from->url, id);
        return fail_hint(e, "is kafka.registry.url the registry of these records?");
    }
    if (answer->code == CURLE_OK && answer->status >= 200 && answer->status < 300)
        return schema_read(from, id, answer, out, e);
    return registry_answer_judge(from, "", answer, &unused, e);
}
