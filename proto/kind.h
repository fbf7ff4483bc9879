/* kind: which Connect schema a PostgreSQL column has in Debezium's topics (kafka-contract.md, section 10, with the
 * connector's defaults: precise decimals, adaptive times, hstore as JSON, intervals as microseconds, bytes as bytes).
 * A Kind is the schema itself: the encoders of JSON, Avro and Protobuf walk over it and know no PostgreSQL types. How a
 * value is read is said by its form, to proto/convert. Facts come in as the catalogs have them. Pure. */
#ifndef WALFERRY_PROTO_KIND_H
#define WALFERRY_PROTO_KIND_H

#include "core/arena.h"

typedef enum ConnectType {
    CONNECT_BOOLEAN,
    CONNECT_INT16,
    CONNECT_INT32,
    CONNECT_INT64,
    CONNECT_FLOAT32,
    CONNECT_FLOAT64,
    CONNECT_STRING,
    CONNECT_BYTES,
    CONNECT_ARRAY, /* of `element` */
    CONNECT_MAP,   /* of `key` to `element` */
    CONNECT_STRUCT /* of `fields` */
} ConnectType;

/* What the text of a value is read as. */
typedef enum KindForm {
    FORM_NONE, /* a part of a struct, or of the envelope: never read by itself */
    FORM_BOOLEAN,
    FORM_BIT, /* one bit, as a boolean */
    FORM_INTEGER,
    FORM_FLOAT,
    FORM_TEXT, /* as it is: strings, UUIDs, JSON, enums, ranges */
    FORM_BYTES,
    FORM_RAW, /* an unknown type: the bytes of its text */
    FORM_BITS,
    FORM_DECIMAL, /* `scale` */
    FORM_VARIABLE_DECIMAL,
    FORM_MONEY,
    FORM_DATE,
    FORM_TIME,      /* in milliseconds up to three `digits`, else in microseconds */
    FORM_TIMESTAMP, /* likewise */
    FORM_TIMESTAMPTZ,
    FORM_TIMETZ,
    FORM_INTERVAL,
    FORM_HSTORE,
    FORM_POINT,
    FORM_GEOMETRY,
    FORM_BOX,
    FORM_LSEG,
    FORM_PATH,
    FORM_POLYGON,
    FORM_CIRCLE,
    FORM_LINE,
    FORM_VECTOR,
    FORM_SPARSE_VECTOR,
    FORM_ARRAY
} KindForm;

typedef struct Kind Kind;

typedef struct KindField {
    const char *name;
    const Kind *kind;
} KindField;

typedef struct KindParameter {
    const char *name, *value;
} KindParameter;

struct Kind {
    ConnectType type;
    KindForm form;
    bool optional;
    const char *name; /* the semantic type; NULL: none */
    int version;      /* 0: none */
    const char *doc;
    const char *fallback; /* the column's default in text form; NULL: none */
    int scale;            /* FORM_DECIMAL */
    int digits;           /* of a second's fraction */
    char delimiter;       /* FORM_ARRAY */
    int parameter_count;
    const KindParameter *parameters;
    const Kind *key, *element;
    int field_count;
    const KindField *fields;
    const int *numbers; /* of a row's or a key's fields, for Protobuf; NULL: from 1 on */
};

/* A type as pg_type has it. */
typedef struct TypeFacts {
    uint32_t oid;
    const char *name; /* typname: types of extensions have no fixed OID */
    char sort;        /* typtype: b base, c composite, d domain, e enum, p pseudo, r range, m multirange */
    char delimiter;   /* typdelim */
    const struct TypeFacts *element; /* of a true array; else NULL */
    const struct TypeFacts *base;    /* of a domain; else NULL */
    int32_t base_modifier;           /* of a domain: typtypmod */
    int label_count;                 /* of an enum, by enumsortorder */
    const char *const *labels;
} TypeFacts;

typedef struct ColumnFacts {
    const TypeFacts *type;
    int32_t modifier; /* atttypmod, -1: none */
    bool not_null;
    const char *default_expression; /* pg_get_expr(); NULL: none, or the column is generated */
} ColumnFacts;

typedef struct KindOptions {
    bool unknown; /* columns of other types as the bytes of their text; else they are left out */
} KindOptions;

/* Made in `arena`, or one that all share; NULL: the column is left out. Strings of `facts` are copied. */
const Kind *kind_of(Arena *arena, const ColumnFacts *facts, KindOptions options);
/* The same, required or not. */
const Kind *kind_optional(Arena *arena, const Kind *kind, bool optional);
/* Text form of a default that is a constant, or of the zero that stands for one that a function gives; NULL: the expression is
 * neither, or is NULL. */
const char *kind_default(Arena *arena, const Kind *kind, const char *expression);

#endif
