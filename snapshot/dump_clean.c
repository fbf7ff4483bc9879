#include <stdint.h>
#include <string.h>

#include "snapshot/dump_intern.h"
#include "snapshot/dump_lexer.h"

#define RESTRICT   "\\restrict "
#define UNRESTRICT "\\unrestrict "
#define TIMEOUT    "SET transaction_timeout = 0;\n"
/* The server's own bookkeeping in the columns' options, on minor releases from November 2026 on. An older pg_dump
 * prints it as if it were the user's, and an older server refuses it. */
#define ATTRIBUTE_VERSION "pg_attver="

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static void cut(char *text, size_t len) {
    memmove(text, text + len, strlen(text + len) + 1);
}

/* The first line of the head that begins with `with`; the head ends at the first mark. */
static char *head_line(char *text, const char *with) {
    for (char *line = text; *line != '\0' && !dump_at_mark(line); line += *line == '\n') {
        if (begins(line, with))
            return line;
        line += strcspn(line, "\n");
    }
    return NULL;
}

/* The start of the last line that is not empty. */
static char *last_line(char *text) {
    char *end = text + strlen(text);
    while (end > text && end[-1] == '\n')
        end--;
    while (end > text && end[-1] != '\n')
        end--;
    return end;
}

static bool restrict_cut(char *text, Error *e) {
    char *open = head_line(text, RESTRICT);
    if (open == NULL)
        return true;
    char *close = last_line(text);
    const char *token = open + strlen(RESTRICT);
    size_t token_len = strcspn(token, "\n");
    const char *closing = close + strlen(UNRESTRICT);
    if (!begins(close, UNRESTRICT) || token_len == 0 || strncmp(closing, token, token_len) != 0 ||
        closing[token_len + strspn(closing + token_len, "\n")] != '\0')
        return fail(e, ERR_CONFIG,
                    "the script of pg_restore has \"\\restrict\" without its \"\\unrestrict\"");
    *close = '\0';
    cut(open, strlen(RESTRICT) + token_len + 1);
    return true;
}

/* Cuts the option of this name, and its comma, out of "(a=1, b=2)". */
static void option_cut(char *options, const char *name) {
    char *item = options + 1;
    while (!begins(item, name)) {
        item += strcspn(item, ",)");
        if (*item != ',')
            return;
        item += strspn(item, ", ");
    }
    size_t len = strcspn(item, ",)");
    if (item[len] == ',')
        cut(item, len + strspn(item + len, ", "));
    else if (item > options + 1)
        cut(item - strlen(", "), len + strlen(", "));
    else
        cut(item, len);
}

/* A statement of its own: what is left of it behind the cut, which may be nothing. */
static size_t statement_clean(char *statement, char *end, const char *set) {
    char *options = statement + (set - statement) + strlen(" SET ");
    char behind = *end;
    *end = '\0';
    option_cut(options, ATTRIBUTE_VERSION);
    size_t left = begins(options, "();\n") ? 0 : strlen(statement);
    *end = behind;
    return left;
}

/* `statement` begins with the line break before it. What stays moves forward once, since there may be thousands. */
static void attribute_versions_cut(char *text, const char *statement) {
    char *to = text, *from = text;
    const char *at = text;
    while ((at = dump_find(at, NULL, statement)) != NULL) {
        char *begin = text + (at + 1 - text);
        const char *last = dump_find(begin, NULL, ";\n");
        if (last == NULL)
            break;
        char *end = text + (last - text) + strlen(";\n");
        const char *set = dump_find(begin, end, " SET (");
        at = end - 1; /* the next one may follow at once */
        if (set == NULL)
            continue;
        size_t before = (size_t)(begin - from), left = statement_clean(begin, end, set);
        memmove(to, from, before);
        memmove(to + before, begin, left);
        to += before + left;
        from = end;
    }
    memmove(to, from, strlen(from) + 1);
}

bool dump_script_clean(char *text, Error *e) {
    if (!restrict_cut(text, e))
        return false;
    char *timeout = head_line(text, TIMEOUT);
    if (timeout != NULL)
        cut(timeout, strlen(TIMEOUT));
    attribute_versions_cut(text, "\nALTER TABLE ONLY ");
    attribute_versions_cut(text, "\nALTER FOREIGN TABLE ONLY ");
    return true;
}
