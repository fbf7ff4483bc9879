/* plan: how the changes of one relation version become statements at the destination. Looked up once per
 * version: the destination's columns decide what can be written (generated and identity columns, trap B9) and
 * which columns find a row. Values are never seen here. Lives until nobody uses the version any more, or the session ends.
 * The sink's thread only.
 */
#ifndef WALFERRY_SINK_PLAN_H
#define WALFERRY_SINK_PLAN_H

#include "core/arena.h"
#include "core/change.h"
#include "core/error.h"
#include "core/pg.h"
#include "core/selection.h"

typedef enum PlanWhere {
    PLAN_WHERE_KEY,       /* the columns whose `key` is set */
    PLAN_WHERE_WHOLE_ROW, /* FULL identity without a usable key at the destination: image equality, one row */
    PLAN_WHERE_NONE       /* no identity: INSERT and TRUNCATE only */
} PlanWhere;

typedef struct PlanColumn {
    const char *name; /* at the destination */
    const char *quoted;
    const char *equal; /* " = ", or OPERATOR(…) for types whose = lies outside pg_catalog */
    const char *type;  /* for casts, as format_type() prints it */
    const char *base;  /* what a domain is in the end: what "equal" is for. NULL: no domain */
    bool writable;     /* exists and is not generated */
    bool always;       /* GENERATED ALWAYS AS IDENTITY: INSERT overrides, UPDATE cannot name it */
    bool key;
    bool indexed;  /* leads a btree index: finds candidates for a whole-row match */
    bool castable; /* text::type is the type's input function */
    uint32_t oid;  /* of its type, there */
    bool by_text;  /* values of one text may have several images: a whole-row match compares the texts */
} PlanColumn;

/* A prepared statement: one for each operation and set of columns that are written. */
typedef enum ShapeKind {
    SHAPE_INSERT,
    SHAPE_UPDATE,
    SHAPE_REINSERT,
    SHAPE_DELETE,
    SHAPE_REPLACE,      /* of a kept table: an INSERT that takes the place of whatever it meets */
    SHAPE_REPLACE_OLD,  /* and of the row with the old key */
    SHAPE_REINSERT_OVER /* a REINSERT that does the same */
} ShapeKind;
typedef struct Shape {
    struct Shape *next;
    ShapeKind kind;
    int finder; /* whole-row match: the indexed column that finds candidates, -1: none */
    char name[16];
    bool prepared;
    bool written[]; /* per column */
} Shape;

/* A statement for many rows at once (catchup.h): its values come in arrays, a column's as text or in its own binary
 * form. */
typedef enum SetKind { SET_DELETE, SET_UPDATE, SET_INSERT } SetKind;
typedef enum SetForm { SET_LEFT_OUT, SET_TEXT, SET_BINARY } SetForm;
typedef struct SetShape {
    struct SetShape *next;
    SetKind kind;
    char name[16];
    bool prepared;
    bool binary;      /* every form is binary or left out */
    uint16_t written; /* columns */
    uint32_t checked; /* COPY: with which of the session's locks its columns' types were looked at */
    uint8_t forms[];  /* SetForm: per column that is written, then per column of the old key */
} SetShape;

/* A unique index of the destination over plain columns. */
typedef struct PlanUnique {
    struct PlanUnique *next;
    uint32_t oid;
    bool columns[]; /* per column of the relation */
} PlanUnique;

typedef struct Plan {
    const Relation *rel;
    Arena *arena;       /* in which it lives */
    const char *table;  /* quoted, qualified */
    const char *called; /* for people, behind the source's name: "" or ", there "crm.client"," */
    bool only;          /* the destination's table has inheritance children */
    bool partitioned;
    bool has_always;
    bool beside_prepared; /* prepared transactions of the job may hold rows there; set by the caller */
    ApplyChoice choice;   /* see plan_takes; decided before any gear (trap A15) */
    bool kept; /* `existing: keep`: rows may be there in another version, or not at all; the source's wins */
    PlanUnique *uniques;
    PlanWhere where;
    PlanColumn *columns; /* rel->column_count */
    const char **beside; /* quoted: the destination's other columns that hold a value of their own */
    uint16_t beside_count;
    bool key_is_unique; /* PLAN_WHERE_KEY: an index there makes sure that it finds at most one row */
    Lsn start;          /* transactions with end <= start are not for this table (trap A2) */
    Shape *shapes;
    SetShape *sets;
    bool
        watched; /* a trigger, a rule or a foreign key's action there sees each row as it comes: not for sets */
    bool unarrayed; /* a column's type takes another way from text than by its input function: not for sets */
    uint32_t alone,
        alone_next; /* so many of its changes go one by one before the next set; and after the next refusal */
    struct NetTable *net; /* while a run of its rows is collected (net.h) */
} Plan;

/* The catalog query that plan_build reads: parameters schema, table (selection_target of the relation); one row a
 * column, none when it is missing. */
extern const char PLAN_QUERY[];
/* `names` says what the relation and its columns are called at the destination; `start` as in table_state. ERR_DATA
 * when the destination lacks the table or a column. `pg` only quotes. */
Plan *plan_build(Arena *arena, Pg *pg, const Selection *names, const Relation *rel, const PGresult *columns,
                 Lsn start, Error *e);
/* For a table of `existing: keep`, behind plan_build. ERR_DATA when no key finds its rows. */
bool plan_keep(Plan *plan, Error *e);
/* Whether the job applies changes of this kind to this table: one that it does not is counted and nothing more. */
static inline bool plan_takes(const Plan *plan, ChangeKind kind) {
    return (plan->choice.takes & 1u << kind) != 0;
}
/* The shape for these columns, made on first use with a name of its own; its statement may not be prepared
 * yet. */
Shape *plan_shape(Plan *plan, Arena *arena, ShapeKind kind, const bool *written, int finder,
                  uint32_t *next_name);
/* Any column that UPDATE may set, quoted; the caller has made sure that there is one. */
const char *plan_settable(const Plan *plan);
/* As plan_shape, for a set; forms: 2 * column_count of SetForm. */
SetShape *plan_set(Plan *plan, Arena *arena, SetKind kind, const uint8_t *forms, uint32_t *next_name);

#endif
