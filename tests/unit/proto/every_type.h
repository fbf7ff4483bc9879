/* every_type: a table with a column of every shape, and rows of it at their limits. */
#ifndef WALFERRY_TESTS_PROTO_EVERY_TYPE_H
#define WALFERRY_TESTS_PROTO_EVERY_TYPE_H

#include "proto/events.h"

static const ColumnMake COLUMNS[] = {
    {.name = "id", .oid = 20, .key = true, .default_expression = "nextval('s'::regclass)"},
    {.name = "flag", .oid = 16, .default_expression = "true"},
    {.name = "small", .oid = 21, .not_null = true},
    {.name = "int-4", .oid = 23},
    {.name = "f4", .oid = 700},
    {.name = "f8", .oid = 701, .not_null = true},
    {.name = "text", .oid = 25},
    {.name = "word", .oid = 1043, .modifier = 20, .default_expression = "'x'::character varying"},
    {.name = "bytes", .oid = 17},
    {.name = "bits", .oid = 1560, .modifier = 9},
    {.name = "price", .oid = 1700, .modifier = NUMERIC(10, 2), .not_null = true},
    {.name = "n", .oid = 1700},
    {.name = "m", .oid = 1700, .not_null = true},
    {.name = "day", .oid = 1082},
    {.name = "at", .oid = 1114, .not_null = true, .default_expression = "now()"},
    {.name = "zoned", .oid = 1184},
    {.name = "point", .oid = 600},
    {.name = "shape", .oid = FIRST_OID, .type_name = "geometry"},
    {.name = "texts", .oid = 25, .array = true},
    {.name = "ints", .oid = 23, .array = true, .not_null = true},
    {.name = "ns", .oid = 1700, .array = true},
    {.name = "vector", .oid = FIRST_OID, .type_name = "vector"},
    {.name = "half", .oid = FIRST_OID, .type_name = "halfvec"},
    {.name = "sparse", .oid = FIRST_OID, .type_name = "sparsevec"},
    {.name = "map", .oid = FIRST_OID, .type_name = "hstore"},
    {.name = "box", .oid = 603},
    {.name = "circle", .oid = 718},
};
enum { COLUMN_COUNT = sizeof COLUMNS / sizeof *COLUMNS };

static const char ROW_TEXT[] =
    "9223372036854775807|t|-32768|-2147483648|1.1|-0|h\xc3\xa4|y|\\x00ff|100000000|-12.34|1000|0.10|"
    "2024-02-29|2024-02-29 12:00:00.5|2024-02-29 12:00:00+00|(1.5,NaN)|"
    "0101000020E6100000000000000000F03F0000000000000040|{a,NULL,\"\"}|{1,-1}|{1.5,NULL}|[1,2.5]|[0.1]|"
    "{1:1.5,3:2}/5|\"a\"=>NULL|(2,1),(0,0)|<(1,2),3>";
static const char NULLS[] = "-1|\\N|0|\\N|\\N|NaN|\\N|\\N|\\N|\\N|0|\\N|0|\\N|1970-01-01 00:00:00|\\N|\\N|"
                            "\\N|\\N|{}|\\N|\\N|\\N|\\N|\\N|\\N|\\N";
static const char SPECIAL[] = "1|f|32767|2147483647|-Infinity|1e+300|||\\x|000000000|99999999.99|NaN|"
                              "Infinity|infinity|infinity|-infinity|(0,0)|\\N|{{a}}|[0:0]={1}|{NaN}|[0]|"
                              "[0]|{}/99999||(1,1),(1,1)|\\N";
static const char UNCHANGED[] = "-1|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?|?";
static const char KEY_ONLY[] = "-1|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-";

#endif
