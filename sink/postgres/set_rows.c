#include "sink/postgres/set_rows.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { TEXT_OID = 25, NULL_LENGTH = -1, COUNT_AT = 12 };

struct SetRows {
    const Plan *plan;
    const SetShape *shape;
    Writer *arrays; /* one a parameter */
    uint16_t used, capacity;
    uint32_t count;
    size_t bytes;
};

SetRows *set_rows_new(void) {
    return memory_new(sizeof(SetRows));
}

void set_rows_free(SetRows *rows) {
    if (rows == NULL)
        return;
    for (uint16_t at = 0; at < rows->capacity; at++)
        writer_free(&rows->arrays[at]);
    free(rows->arrays);
    free(rows);
}

static Writer *array_next(SetRows *rows) {
    if (rows->used == rows->capacity) {
        rows->capacity = (uint16_t)(rows->capacity + 16);
        rows->arrays = memory_grow(rows->arrays, rows->capacity * sizeof *rows->arrays);
        for (uint16_t at = rows->used; at < rows->capacity; at++)
            rows->arrays[at] = writer_new(SIZE_MAX);
    }
    return &rows->arrays[rows->used++];
}

void set_rows_begin(SetRows *rows, const Plan *plan, const SetShape *shape) {
    rows->plan = plan;
    rows->shape = shape;
    rows->used = 0;
    rows->count = 0;
    rows->bytes = 0;
    for (uint16_t at = 0; at < 2 * plan->rel->column_count; at++) {
        if (shape->forms[at] == SET_LEFT_OUT)
            continue;
        uint32_t own = plan->rel->columns[at % plan->rel->column_count].type;
        Writer *array = array_next(rows);
        writer_reset(array);
        writer_u32(array, 1); /* dimensions */
        writer_u32(array, 1); /* may hold NULLs */
        writer_u32(array, shape->forms[at] == SET_BINARY ? own : TEXT_OID);
        writer_u32(array, 0); /* elements: known at the end */
        writer_u32(array, 1); /* lower bound */
    }
}

static bool fits(const Value *value, SetForm form) {
    return value->kind == VALUE_NULL || value->kind == (form == SET_BINARY ? VALUE_BINARY : VALUE_TEXT);
}

static void field_write(Writer *out, const Value *value) {
    writer_u32(out, value->kind == VALUE_NULL ? (uint32_t)NULL_LENGTH : (uint32_t)value->bytes.len);
    if (value->kind != VALUE_NULL)
        writer_bytes(out, value->bytes);
}

bool set_rows_add(SetRows *rows, const NetRow *row) {
    uint16_t columns = rows->plan->rel->column_count, parameter = 0;
    bool ok = true;
    for (uint16_t at = 0; at < 2 * columns; at++) {
        SetForm form = rows->shape->forms[at];
        if (form == SET_LEFT_OUT)
            continue;
        const Value *value = at < columns          ? &row->values[at]
                             : row->origin != NULL ? &row->origin[at - columns]
                                                   : &row->values[at - columns];
        Writer *array = &rows->arrays[parameter++];
        ok = ok && fits(value, form);
        field_write(array, value);
        rows->bytes += 4 + value->bytes.len;
    }
    rows->count++;
    return ok;
}

uint32_t set_rows_count(const SetRows *rows) {
    return rows->count;
}

size_t set_rows_bytes(const SetRows *rows) {
    return rows->bytes;
}

int set_rows_values(SetRows *rows, const char **values, int *lengths, int *formats) {
    uint32_t count = htonl(rows->count);
    for (uint16_t at = 0; at < rows->used; at++) {
        memcpy(rows->arrays[at].at + COUNT_AT, &count, sizeof count);
        values[at] = rows->arrays[at].at;
        lengths[at] = (int)rows->arrays[at].len;
        formats[at] = 1;
    }
    return rows->used;
}

/* ---- COPY ---- */

static const char COPY_SIGNATURE[] = "PGCOPY\n\377\r\n"; /* with its NUL */

void set_rows_copy_begin(Writer *out, const SetShape *shape) {
    if (!shape->binary)
        return;
    writer_bytes(out, (Slice){COPY_SIGNATURE, sizeof COPY_SIGNATURE});
    writer_u32(out, 0); /* flags */
    writer_u32(out, 0); /* length of the header's extension */
}

void set_rows_copy_end(Writer *out, const SetShape *shape) {
    if (shape->binary)
        writer_u16(out, UINT16_MAX);
}

static char escape_of(char c) {
    switch (c) {
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    case '\v': return 'v';
    case '\\': return '\\';
    default: return '\0';
    }
}

static void escaped_write(Writer *out, Slice text) {
    size_t from = 0;
    for (size_t at = 0; at < text.len; at++) {
        char escape = text.at[at] <= '\\' ? escape_of(text.at[at]) : '\0';
        if (escape == '\0')
            continue;
        writer_bytes(out, (Slice){text.at + from, at - from});
        writer_u8(out, '\\');
        writer_u8(out, (uint8_t)escape);
        from = at + 1;
    }
    if (text.len > from)
        writer_bytes(out, (Slice){text.at + from, text.len - from});
}

bool set_rows_copy_add(Writer *out, const Plan *plan, const SetShape *shape, const NetRow *row) {
    bool ok = true, first = true;
    if (shape->binary)
        writer_u16(out, shape->written);
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        const Value *value = &row->values[column];
        if (shape->forms[column] == SET_LEFT_OUT)
            continue;
        ok = ok && fits(value, shape->forms[column]);
        if (shape->binary) {
            field_write(out, value);
            continue;
        }
        if (!first)
            writer_u8(out, '\t');
        first = false;
        if (value->kind == VALUE_NULL)
            writer_text(out, "\\N");
        else
            escaped_write(out, value->bytes);
    }
    if (!shape->binary)
        writer_u8(out, '\n');
    return ok;
}
