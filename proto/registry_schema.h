/* registry_schema: what a schema registry keeps, as both sides of our client name it. */
#ifndef WALFERRY_PROTO_REGISTRY_SCHEMA_H
#define WALFERRY_PROTO_REGISTRY_SCHEMA_H

typedef enum RegistryType { REGISTRY_AVRO, REGISTRY_JSON, REGISTRY_PROTOBUF } RegistryType;

typedef struct RegistrySchema {
    RegistryType type;
    char *text; /* of malloc */
} RegistrySchema;

#endif
