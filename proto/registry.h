/* registry: the client of a Confluent schema registry: a subject and a schema become the id that stands before each
 * record. Ids are kept: a schema is registered once. Knows no Kafka and no table. One thread.
 * TLS is verified. User and password go to the addresses of the options and nowhere else: redirects are not followed, and
 * no error or log line has them, also not those that stand in an address. */
#ifndef WALFERRY_PROTO_REGISTRY_H
#define WALFERRY_PROTO_REGISTRY_H

#include "core/bytes.h"
#include "core/error.h"
#include "proto/registry_schema.h"

typedef struct Registry Registry;

typedef struct RegistryOptions {
    const char *urls;              /* one or several with commas between, of the same registry */
    const char *user, *password;   /* NULL: those of the address, else none */
    const char *ca_file;           /* PEM; NULL: the system's */
    int timeout_ms;                /* for one round over all addresses; 0: 10 s */
    bool (*ending)(void *context); /* true: whoever waits leaves with ERR_STOPPED; NULL: never */
    void *context;
} RegistryOptions;

/* Connects to nothing yet; copies the options. NULL and e (ERR_CONFIG): an address that is none. */
Registry *registry_new(const RegistryOptions *options, Error *e);
void registry_free(Registry *r); /* NULL is fine */

/* The id of the schema under the subject, which is made where it is not there yet. Blocks for at most three timeouts and
 * three seconds. False and e: ERR_DATA when the registry refuses the schema (as incompatible, as invalid), ERR_CONFIG when
 * it refuses us or is none, ERR_PROTOCOL for an answer that makes no sense, ERR_RETRY when none answers. */
bool registry_register(Registry *r, const char *subject, RegistryType type, Slice schema, int32_t *id,
                       Error *e);
/* Whether one answers and lets us in, by a question about a subject that need not be there. Makes nothing, and blocks for
 * one timeout. */
bool registry_look(Registry *r, const char *subject, Error *e);

/* The schema that has this id. Nothing of it is kept. Blocks and fails as registry_register; ERR_CONFIG also where the registry
 * does not know the id, and where the schema is spread over several. */
bool registry_schema(Registry *r, int32_t id, RegistrySchema *out, Error *e);

#endif
