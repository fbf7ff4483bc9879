/* registry_intern: what proto/registry.c, registry_http.c (addresses, requests) and registry_answer.c (what an answer
 * means) share. */
#ifndef WALFERRY_PROTO_REGISTRY_INTERN_H
#define WALFERRY_PROTO_REGISTRY_INTERN_H

#include <curl/curl.h>

#include "core/arena.h"
#include "proto/registry.h"

enum { REGISTRY_URLS_MAX = 16, REGISTRY_ANSWER_BYTES_MAX = 1 << 20 };

typedef struct RegistryAddress {
    char *url; /* without the credentials, and without a slash at its end */
    char *user, *password;
} RegistryAddress;

struct Registry {
    CURL *curl;
    struct curl_slist *headers;
    RegistryAddress addresses[REGISTRY_URLS_MAX];
    int count, current; /* current: the one that answered last */
    char *ca_file;
    int timeout_ms;
    bool (*ending)(void *context);
    void *context;
    Arena *arena; /* of the ids */
    struct RegistryId *ids;
};

typedef struct RegistryAnswer {
    CURLcode code;
    long status;
    Writer body;
    char why[CURL_ERROR_SIZE]; /* of the code, in words; may be empty */
} RegistryAnswer;

bool registry_is_ending(const Registry *r);

bool registry_http_new(Registry *r, const RegistryOptions *options, Error *e);
void registry_http_free(Registry *r);
/* `path` of malloc, to stand behind an address: the subject's versions, or one of them. */
char *registry_path(Registry *r, const char *subject, const char *version);
/* A POST of the body; one without bytes: a GET. */
void registry_ask(Registry *r, const RegistryAddress *to, const char *path, Slice body, int64_t most_ms,
                  RegistryAnswer *answer);

bool registry_judge(const RegistryAddress *from, const char *subject, const RegistryAnswer *answer,
                    int32_t *id, Error *e);
/* Whether it is a registry that lets us in: one that does not know the subject is. */
bool registry_judge_look(const RegistryAddress *from, const char *subject, const RegistryAnswer *answer,
                         Error *e);
bool registry_judge_schema(const RegistryAddress *from, int32_t id, const RegistryAnswer *answer,
                           RegistrySchema *out, Error *e);

#endif
