#include "sink/postgres/ddl_message.h"

#include <string.h>

#include <jansson.h>

static const char *kept(Arena *arena, const char *text) {
    return text == NULL ? NULL : arena_text(arena, slice_text(text));
}

/* [name, type, modifier, attnum, schema, text, not null, default, identity, generated, missing] */
static bool column_read(Arena *arena, json_t *item, DefinedColumn *column, DdlColumn *more) {
    const char *name, *schema, *text, *identity, *generated;
    json_int_t type;
    int modifier, number, not_null;
    if (json_unpack(item, "[s,I,i,i,s,s,b]", &name, &type, &modifier, &number, &schema, &text, &not_null) !=
        0)
        return false;
    identity = json_string_value(json_array_get(item, 8));
    generated = json_string_value(json_array_get(item, 9));
    if (identity == NULL || generated == NULL)
        return false;
    *column = (DefinedColumn){kept(arena, name), (uint32_t)type, modifier, number};
    *more = (DdlColumn){.type_schema = kept(arena, schema),
                        .type_text = kept(arena, text),
                        .value = kept(arena, json_string_value(json_array_get(item, 7))),
                        .missing = kept(arena, json_string_value(json_array_get(item, 10))),
                        .not_null = not_null != 0,
                        .generated = generated[0] != '\0'};
    return true;
}

static bool definition_take(Arena *arena, json_t *root, DdlMessage *out) {
    const char *schema, *name;
    json_t *columns;
    if (json_unpack(root, "{s:s,s:s,s:o}", "schema", &schema, "name", &name, "columns", &columns) != 0)
        return false;
    size_t count = json_array_size(columns);
    Definition *d = arena_alloc(arena, sizeof *d);
    DefinedColumn *list = arena_alloc(arena, (count + 1) * sizeof *list);
    DdlColumn *more = arena_alloc(arena, (count + 1) * sizeof *more);
    *d = (Definition){kept(arena, schema), kept(arena, name), (int)count, list};
    out->definition = d;
    out->columns = more;
    for (size_t at = 0; at < count; at++)
        if (!column_read(arena, json_array_get(columns, at), &list[at], &more[at]))
            return false;
    return true;
}

bool ddl_message_read(Arena *arena, Slice content, DdlMessage *out) {
    json_t *root = json_loadb(content.at, content.len, 0, NULL);
    json_t *rewrite = json_object_get(root, "rewrite"), *index = json_object_get(root, "index");
    json_t *dropped = json_object_get(root, "drop_index"), *oid = json_object_get(root, "oid");
    bool ok = true;
    *out = (DdlMessage){.oid = 0};
    if (json_is_integer(rewrite)) {
        out->oid = (uint32_t)json_integer_value(rewrite);
        out->rewrite = true;
    } else if (json_is_integer(index)) {
        out->oid = (uint32_t)json_integer_value(index);
        out->index = kept(arena, json_string_value(json_object_get(root, "name")));
        out->index_schema = kept(arena, json_string_value(json_object_get(root, "schema")));
        out->index_create = kept(arena, json_string_value(json_object_get(root, "create")));
        out->partitioned = json_is_true(json_object_get(root, "partitioned"));
        ok = out->index != NULL && out->index_schema != NULL && out->index_create != NULL;
    } else if (json_is_array(dropped)) {
        out->index_schema = kept(arena, json_string_value(json_array_get(dropped, 0)));
        out->index = kept(arena, json_string_value(json_array_get(dropped, 1)));
        ok = out->index != NULL && out->index_schema != NULL;
    } else {
        out->oid = (uint32_t)json_integer_value(oid);
        ok = json_is_integer(oid) && definition_take(arena, root, out);
    }
    json_decref(root);
    return ok;
}
