/* topic_schemas: takes apart keys and values whose schemas stand elsewhere. Their first bytes say where:
 *   00 and an id, 4 bytes                the job's registry. Avro, Protobuf; or JSON, whose schema is not looked at
 *   C3 01 and a fingerprint, 8 bytes     a control topic (sink/control_topic.h), the job's or another one. Avro
 * Each schema is asked for once; a control topic is read once, when the first one that must be in it comes. One thread. */
#ifndef WALFERRY_SINK_TOPIC_SCHEMAS_H
#define WALFERRY_SINK_TOPIC_SCHEMAS_H

#include <jansson.h>

#include "core/bytes.h"
#include "core/config.h"
#include "core/error.h"

typedef struct TopicSchemas TopicSchemas;

/* control: a second control topic, which need not be there. All are lent. Connects to nobody yet. */
TopicSchemas *topic_schemas_new(const Config *cfg, const char *control);
void topic_schemas_free(TopicSchemas *s); /* NULL is fine */
/* `schemas`: a TopicSchemas. NULL and e: ERR_CONFIG, the schema is not to be had, or needs others; ERR_DATA, the bytes do not fit
 * it; and as of registry_schema and of reading a topic. */
json_t *topic_schemas_decode(void *schemas, Slice bytes, Error *e);

#endif
