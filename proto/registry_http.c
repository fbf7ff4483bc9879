#include "proto/registry_http.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static const char CONTENT_TYPE[] = "Content-Type: application/vnd.schemaregistry.v1+json";
static const char ACCEPT[] = "Accept: application/vnd.schemaregistry.v1+json, application/json";
/* Else curl waits for a leave to send a long schema. */
static const char NO_EXPECT[] = "Expect:";

/* ---- its addresses ---- */

static void curl_start(void) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        memory_refused(0);
}

/* A part of the address, of malloc; NULL: it has none. */
static char *part_take(CURLU *parsed, CURLUPart part, unsigned flags) {
    char *text = NULL;
    CURLUcode code = curl_url_get(parsed, part, &text, flags);
    if (code == CURLUE_OUT_OF_MEMORY)
        memory_refused(0);
    char *copy = code == CURLUE_OK ? memory_text(text) : NULL;
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    curl_free(text);
    return copy;
}

/* Nothing can stand behind one with a query, which may hold a secret, too. */
static bool is_base(CURLU *parsed) {
    char *scheme = part_take(parsed, CURLUPART_SCHEME, 0);
    char *query = part_take(parsed, CURLUPART_QUERY, 0), *fragment = part_take(parsed, CURLUPART_FRAGMENT, 0);
    bool http = scheme != NULL && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    bool base = http && query == NULL && fragment == NULL;
    free(scheme);
    free(query);
    free(fragment);
    return base;
}

static bool address_parse(const char *text, RegistryAddress *out) {
    CURLU *parsed = curl_url();
    if (parsed == NULL)
        memory_refused(0);
    bool good = curl_url_set(parsed, CURLUPART_URL, text, 0) == CURLUE_OK && is_base(parsed);
    if (good) {
        out->user = part_take(parsed, CURLUPART_USER, CURLU_URLDECODE);
        out->password = part_take(parsed, CURLUPART_PASSWORD, CURLU_URLDECODE);
        curl_url_set(parsed, CURLUPART_USER, NULL, 0);
        curl_url_set(parsed, CURLUPART_PASSWORD, NULL, 0);
        out->url = part_take(parsed, CURLUPART_URL, 0);
        for (size_t end = strlen(out->url); end > 0 && out->url[end - 1] == '/'; end--)
            out->url[end - 1] = '\0';
    }
    curl_url_cleanup(parsed);
    return good;
}

static void address_free(RegistryAddress *address) {
    free(address->url);
    free(address->user);
    if (address->password != NULL)
        explicit_bzero(address->password, strlen(address->password));
    free(address->password);
}

static void text_replace(char **old, const char *text) {
    if (text == NULL)
        return;
    free(*old);
    *old = memory_text(text);
}

bool registry_http_addresses(RegistryHttp *http, const char *urls, const char *user, const char *password,
                             Error *e) {
    char *list = memory_text(urls), *rest = list;
    bool good = true;
    for (char *word; good && (word = strsep(&rest, ",")) != NULL;) {
        word += strspn(word, " ");
        for (size_t end = strlen(word); end > 0 && word[end - 1] == ' '; end--)
            word[end - 1] = '\0';
        good = http->count < REGISTRY_URLS_MAX && address_parse(word, &http->addresses[http->count]);
        http->count += good;
    }
    explicit_bzero(list, strlen(urls));
    free(list);
    for (int at = 0; at < http->count; at++) {
        text_replace(&http->addresses[at].user, user);
        text_replace(&http->addresses[at].password, password);
    }
    if (good)
        return true;
    fail(e, ERR_CONFIG, "address %d of the schema registry cannot be used", http->count + 1);
    return fail_hint(e, "kafka.registry.url: http or https addresses, at most %d, with commas between",
                     REGISTRY_URLS_MAX);
}

/* ---- requests ---- */

bool registry_http_is_ending(const RegistryHttp *http) {
    return http->ending != NULL && http->ending(http->context);
}

static size_t answer_take(const char *bytes, size_t size, size_t count, void *context) {
    RegistryAnswer *answer = context;
    writer_bytes(&answer->body, (Slice){bytes, size * count});
    return answer->body.full ? 0 : size * count;
}

static int progress(void *context, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up) {
    (void)down_all, (void)down, (void)up_all, (void)up;
    return registry_http_is_ending(context) ? 1 : 0;
}

/* NULL: back to what it is by default. */
static void set_text(CURL *curl, CURLoption option, const char *text) {
    if (curl_easy_setopt(curl, option, text) == CURLE_OUT_OF_MEMORY)
        memory_refused(0);
}

static void header_add(RegistryHttp *http, const char *text) {
    struct curl_slist *longer = curl_slist_append(http->headers, text);
    if (longer == NULL)
        memory_refused(0);
    http->headers = longer;
}

/* What is the same in every request. The connection stays open between them. */
static void handle_make(RegistryHttp *http) {
    header_add(http, CONTENT_TYPE);
    header_add(http, ACCEPT);
    header_add(http, NO_EXPECT);
    http->curl = curl_easy_init();
    if (http->curl == NULL)
        memory_refused(0);
    set_text(http->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    set_text(http->curl, CURLOPT_USERAGENT, "walferry/" WALFERRY_VERSION);
    if (http->ca_file != NULL)
        set_text(http->curl, CURLOPT_CAINFO, http->ca_file);
    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, http->headers);
    curl_easy_setopt(http->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(http->curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(http->curl, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(http->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(http->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(http->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(http->curl, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(http->curl, CURLOPT_XFERINFODATA, http);
    curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, answer_take);
}

void registry_http_ask(RegistryHttp *http, const RegistryAddress *to, const char *path, Slice body,
                       int64_t most_ms, RegistryAnswer *answer) {
    Writer url = writer_new(SIZE_MAX);
    writer_format(&url, "%s%s", to->url, path);
    set_text(http->curl, CURLOPT_URL, writer_string(&url));
    writer_free(&url);
    if (body.len > 0) {
        curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, body.at);
    } else {
        curl_easy_setopt(http->curl, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, (long)most_ms);
    curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, answer->why);
    set_text(http->curl, CURLOPT_USERNAME, to->user);
    set_text(http->curl, CURLOPT_PASSWORD, to->password);
    answer->code = curl_easy_perform(http->curl);
    curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, NULL);
}

char *registry_http_path(RegistryHttp *http, const char *subject, const char *version) {
    Writer path = writer_new(SIZE_MAX);
    char *escaped = curl_easy_escape(http->curl, subject, (int)strlen(subject));
    if (escaped == NULL)
        memory_refused(0);
    writer_format(&path, "/subjects/%s/versions%s", escaped, version);
    char *text = memory_text(writer_string(&path));
    writer_free(&path);
    curl_free(escaped);
    return text;
}

/* ---- its life ---- */

void registry_http_open(RegistryHttp *http, const char *ca_file, bool (*ending)(void *context),
                        void *context) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_start);
    http->ca_file = ca_file == NULL ? NULL : memory_text(ca_file);
    http->ending = ending;
    http->context = context;
    handle_make(http);
}

void registry_http_close(RegistryHttp *http) {
    curl_easy_cleanup(http->curl);
    curl_slist_free_all(http->headers);
    for (int at = 0; at < http->count; at++)
        address_free(&http->addresses[at]);
    free(http->ca_file);
}
