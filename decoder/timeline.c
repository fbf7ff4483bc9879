#include "decoder/timeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_MAX_DIGITS = 10 };

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

/* The next word of a line, cut out of it; empty at the end. */
static Slice word_take(Slice *line) {
    while (line->len > 0 && is_blank(line->at[0]))
        *line = (Slice){line->at + 1, line->len - 1};
    Slice word = {line->at, 0};
    while (word.len < line->len && !is_blank(line->at[word.len]))
        word.len++;
    *line = (Slice){line->at + word.len, line->len - word.len};
    return word;
}

static bool number_read(Slice word, uint32_t *out) {
    uint64_t value = 0;
    if (word.len == 0 || word.len > NUMBER_MAX_DIGITS)
        return false;
    for (size_t at = 0; at < word.len; at++) {
        if (word.at[at] < '0' || word.at[at] > '9')
            return false;
        value = value * 10 + (uint64_t)(word.at[at] - '0');
    }
    *out = (uint32_t)value;
    return value > 0 && value <= UINT32_MAX;
}

static bool lsn_read(Slice word, Lsn *out) {
    char text[LSN_TEXT_SIZE];
    if (word.len >= sizeof text)
        return false;
    memcpy(text, word.at, word.len);
    text[word.len] = '\0';
    return lsn_parse(text, out) && !lsn_is_none(*out);
}

static void switch_add(TimelineHistory *history, TimelineSwitch one) {
    if (history->count == TIMELINE_SWITCHES_MAX) {
        history->count--;
        memmove(history->switches, history->switches + 1, sizeof one * (size_t)history->count);
    }
    history->switches[history->count++] = one;
}

/* Blank lines and comments say nothing; the reason behind the position is for people. */
static bool line_read(Slice line, uint32_t below, uint32_t *newest, TimelineHistory *out) {
    TimelineSwitch one;
    Slice number = word_take(&line);
    if (number.len == 0 || number.at[0] == '#')
        return true;
    if (!number_read(number, &one.timeline) || !lsn_read(word_take(&line), &one.end) ||
        one.timeline <= *newest || one.timeline >= below)
        return false;
    *newest = one.timeline;
    switch_add(out, one);
    return true;
}

bool timeline_parse(Slice text, uint32_t timeline, TimelineHistory *out, Error *e) {
    uint32_t newest = 0;
    out->count = 0;
    if (text.len > TIMELINE_HISTORY_MAX_BYTES)
        return fail(e, ERR_PROTOCOL, "the history of timeline %" PRIu32 " has %zu bytes", timeline, text.len);
    for (int number = 1; text.len > 0; number++) {
        const char *newline = memchr(text.at, '\n', text.len);
        size_t length = newline == NULL ? text.len : (size_t)(newline - text.at);
        if (!line_read((Slice){text.at, length}, timeline, &newest, out))
            return fail(e, ERR_PROTOCOL, "the history of timeline %" PRIu32 " has an unknown form in line %d",
                        timeline, number);
        length += newline != NULL;
        text = (Slice){text.at + length, text.len - length};
    }
    return true;
}

/* The later switches count, too: a server that is set back to a point before an earlier switch (recovery_target_lsn
 * along a newer timeline) writes a history whose positions fall. */
bool timeline_fork(const TimelineHistory *history, uint32_t ancestor, Lsn *fork) {
    bool found = false;
    for (int at = 0; at < history->count; at++) {
        const TimelineSwitch *one = &history->switches[at];
        if (one->timeline == ancestor)
            *fork = one->end;
        found = found || one->timeline == ancestor;
        if (found)
            *fork = lsn_min(*fork, one->end);
    }
    return found;
}
