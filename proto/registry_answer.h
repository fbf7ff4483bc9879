/* registry_answer: what the answer of a schema registry to a request means. Pure. */
#ifndef WALFERRY_PROTO_REGISTRY_ANSWER_H
#define WALFERRY_PROTO_REGISTRY_ANSWER_H

#include "proto/registry_http.h"
#include "proto/registry_schema.h"

/* The id of the schema that was sent. False and e: as registry_register says. */
bool registry_answer_judge(const RegistryAddress *from, const char *subject, const RegistryAnswer *answer,
                           int32_t *id, Error *e);
/* Whether it is a registry that lets us in: one that does not know the subject is. */
bool registry_answer_judge_look(const RegistryAddress *from, const char *subject,
                                const RegistryAnswer *answer, Error *e);
/* The schema of that id. */
bool registry_answer_judge_schema(const RegistryAddress *from, int32_t id, const RegistryAnswer *answer,
                                  RegistrySchema *out, Error *e);

#endif
