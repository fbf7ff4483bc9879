/* dump_lexer: just enough of SQL's lexical rules to find the entry headers and statements of a pg_restore script:
 * what looks like one inside a string, a quoted name or a dollar-quoted body is none. Pure. */
#ifndef WALFERRY_SNAPSHOT_DUMP_LEXER_H
#define WALFERRY_SNAPSHOT_DUMP_LEXER_H

#include <stdbool.h>

/* Every entry begins with the three lines "--", "-- Name: …; Type: …; Schema: …; Owner: …" and "--". */
#define DUMP_HEADER "--\n-- Name: "
#define DUMP_END    "--\n-- PostgreSQL database dump complete\n--\n"

bool dump_at_mark(const char *at); /* at an entry's header or at the end mark */
/* The next header or end mark at or behind `at`, which must be outside of quotes; NULL when there is none,
 * also when the text ends inside quotes. */
const char *dump_next_mark(const char *at);
/* Where `text` stands outside of quotes and comments, at or behind `at`, which must be outside, too, and before `end`
 * (NULL: anywhere). */
const char *dump_find(const char *at, const char *end, const char *text);

#endif
