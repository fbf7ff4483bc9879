/* registry_http: the way to a schema registry: its addresses, and requests to them over a connection that stays open. Knows
 * no schemas and not what an answer means. The credentials stand in no text that it gives out. One thread. */
#ifndef WALFERRY_PROTO_REGISTRY_HTTP_H
#define WALFERRY_PROTO_REGISTRY_HTTP_H

#include <curl/curl.h>

#include "core/bytes.h"
#include "core/error.h"

enum { REGISTRY_URLS_MAX = 16, REGISTRY_ANSWER_BYTES_MAX = 1 << 20 };

typedef struct RegistryAddress {
    char *url; /* without the credentials, and without a slash at its end */
    char *user, *password;
} RegistryAddress;

/* Zeroed before it is opened; owns all of it but the context. */
typedef struct RegistryHttp {
    CURL *curl;
    struct curl_slist *headers;
    RegistryAddress addresses[REGISTRY_URLS_MAX];
    int count;
    char *ca_file;
    bool (*ending)(void *context);
    void *context;
} RegistryHttp;

typedef struct RegistryAnswer {
    CURLcode code;
    long status;
    Writer body;
    char why[CURL_ERROR_SIZE]; /* of the code, in words; may be empty */
} RegistryAnswer;

/* Connects to nothing yet. `ca_file` NULL: the system's; `ending` NULL: never, else a request is left when it says true. */
void registry_http_open(RegistryHttp *http, const char *ca_file, bool (*ending)(void *context),
                        void *context);
/* `urls`: one or several with commas between; user and password NULL: those of each address, else none. False and e
 * (ERR_CONFIG): one that is none, or too many. Once. */
bool registry_http_addresses(RegistryHttp *http, const char *urls, const char *user, const char *password,
                             Error *e);
void registry_http_close(RegistryHttp *http);
bool registry_http_is_ending(const RegistryHttp *http);

/* `path` of malloc, to stand behind an address: the subject's versions, or one of them. */
char *registry_http_path(RegistryHttp *http, const char *subject, const char *version);
/* A POST of the body; one without bytes: a GET. Blocks for most_ms at the most. */
void registry_http_ask(RegistryHttp *http, const RegistryAddress *to, const char *path, Slice body,
                       int64_t most_ms, RegistryAnswer *answer);

#endif
