#include "sink/kafka/kafka_refused.h"

#include <inttypes.h>

#include "core/json_text.h"

enum { SHOWN_BYTES = 1024, ROW_BYTES = 256 * 1024 };

static void text_write(Writer *out, const char *start, const char *value) {
    writer_text(out, start);
    json_text_write(out, slice_text(value));
}

/* Not in the middle of a character. */
static size_t cut_at(Slice text, size_t most) {
    while (most > 0 && ((unsigned char)text.at[most] & 0xC0) == 0x80)
        most--;
    return most;
}

static void value_write(Writer *out, const Value *value) {
    if (value->kind == VALUE_NULL) {
        writer_text(out, "null");
        return;
    }
    if (value->bytes.len <= SHOWN_BYTES) {
        json_text_write(out, value->bytes);
        return;
    }
    writer_format(out, "{\"bytes\":%zu,\"begins\":", value->bytes.len);
    json_text_write(out, (Slice){value->bytes.at, cut_at(value->bytes, SHOWN_BYTES)});
    writer_u8(out, '}');
}

static void row_write(Writer *out, const char *start, const Relation *rel, const Value *values) {
    const char *comma = "";
    size_t begun = out->len;
    writer_text(out, start);
    if (values == NULL) {
        writer_text(out, "null");
        return;
    }
    writer_u8(out, '{');
    for (uint16_t column = 0; column < rel->column_count && out->len - begun < ROW_BYTES; column++) {
        if (values[column].kind != VALUE_TEXT && values[column].kind != VALUE_NULL)
            continue;
        text_write(out, comma, rel->columns[column].name);
        writer_u8(out, ':');
        value_write(out, &values[column]);
        comma = ",";
    }
    writer_u8(out, '}');
}

void kafka_refused_write(Writer *out, const char *topic, const Relation *rel, const Event *event,
                         const Error *why) {
    static const char *const ops[] = {"c", "u", "d", "r", "t"};
    const EventPlace *place = event->place;
    text_write(out, "{\"topic\":", topic);
    text_write(out, ",\"schema\":", rel->schema);
    text_write(out, ",\"table\":", rel->name);
    writer_format(out, ",\"lsn\":\"" LSN_FMT "\",\"seq\":%" PRId64 ",\"xid\":%" PRIu32 ",\"op\":\"%s\"",
                  LSN_ARGS(place->end), place->seq, place->xid, ops[event->op]);
    text_write(out, ",\"error\":", why->text);
    row_write(out, ",\"before\":", rel, event->before);
    row_write(out, ",\"after\":", rel, event->after);
    writer_u8(out, '}');
}
