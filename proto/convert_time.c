/* Dates and times: DateStyle ISO, IntervalStyle postgres. Days are counted in the Gregorian calendar without an end to
 * either side, as the server and Java do; 44 BC is the year -43. */
#include <string.h>

#include "proto/convert_intern.h"

enum { HOUR_S = 3600, MINUTE_S = 60, YEAR_DIGITS = 4, YEAR_DIGITS_MOST = 7 };
#define SECOND_US INT64_C(1000000)
#define DAY_US    (INT64_C(86400) * SECOND_US)
#define MONTH_US  (INT64_C(2629800) * SECOND_US) /* a twelfth of 365.25 days */

/* An infinite timestamp as Debezium 3.7 has it: pgjdbc's own two numbers where the column counts milliseconds, and what is
 * left of a thousand times those, the ends of an int64, where it counts microseconds. */
#define TIMESTAMP_INFINITY_MS       INT64_C(9223372036825200000)
#define TIMESTAMP_MINUS_INFINITY_MS INT64_C(-9223372036832400000)
#define TIMESTAMP_INFINITY_US       INT64_MAX
#define TIMESTAMP_MINUS_INFINITY_US INT64_MIN

typedef struct Moment {
    int64_t days; /* since 1970-01-01 */
    int64_t us;   /* since midnight; 24:00:00 is allowed */
} Moment;

/* ---- the calendar: http://howardhinnant.github.io/date_algorithms.html ---- */

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = floor_div(year, 400), of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of(int64_t days, int64_t *year, int64_t *month, int64_t *day) {
    days += 719468;
    int64_t era = floor_div(days, 146097), of_era = days - era * 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * of_year + 2) / 153;
    *day = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted + (shifted < 10 ? 3 : -9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

/* ---- reading ---- */

typedef struct Date {
    int64_t year, month, day;
} Date;

static bool take_date(Cursor *c, Date *date) {
    return cursor_digits(c, YEAR_DIGITS, YEAR_DIGITS_MOST, &date->year) && cursor_take(c, '-') &&
           cursor_digits(c, 2, 2, &date->month) && cursor_take(c, '-') && cursor_digits(c, 2, 2, &date->day);
}

/* " BC" stands at the very end; false: there is no such day. */
static bool take_era(Cursor *c, const Date *date, int64_t *days) {
    bool before = cursor_take_text(c, " BC");
    if (date->year < 1 || date->month < 1 || date->month > 12 || date->day < 1)
        return false;
    int64_t year = before ? 1 - date->year : date->year, back[3];
    *days = days_of(year, date->month, date->day);
    date_of(*days, &back[0], &back[1], &back[2]);
    return back[0] == year && back[1] == date->month && back[2] == date->day;
}

/* Up to six digits of a second's fraction, if there are any. */
static bool take_fraction(Cursor *c, int64_t *us) {
    *us = 0;
    if (!cursor_take(c, '.'))
        return true;
    const char *from = c->at;
    if (!cursor_digits(c, 1, 6, us))
        return false;
    for (long digits = c->at - from; digits < 6; digits++)
        *us *= 10;
    return true;
}

/* `sign`: -1 or 1: the least time of an interval has no positive one. */
static bool take_clock(Cursor *c, int64_t hours_most, int hour_digits, int sign, int64_t *us) {
    int64_t hours, minutes, seconds, fraction;
    if (!cursor_digits(c, 2, hour_digits, &hours) || !cursor_take(c, ':') ||
        !cursor_digits(c, 2, 2, &minutes) || !cursor_take(c, ':') || !cursor_digits(c, 2, 2, &seconds) ||
        !take_fraction(c, &fraction) || hours > hours_most || minutes > 59 || seconds > 59)
        return false;
    return !__builtin_mul_overflow(sign * hours, HOUR_S * SECOND_US, us) &&
           !__builtin_add_overflow(*us, sign * ((minutes * MINUTE_S + seconds) * SECOND_US + fraction), us);
}

static bool take_time_of_day(Cursor *c, int64_t *us) {
    return take_clock(c, 24, 2, 1, us) && *us <= DAY_US;
}

/* East of Greenwich: +02, -03:30, +00:53:28. */
static bool take_offset(Cursor *c, int64_t *us) {
    int64_t hours, minutes = 0, seconds = 0;
    bool west = cursor_take(c, '-');
    if ((!west && !cursor_take(c, '+')) || !cursor_digits(c, 2, 2, &hours))
        return false;
    if (cursor_take(c, ':') && !cursor_digits(c, 2, 2, &minutes))
        return false;
    if (cursor_take(c, ':') && !cursor_digits(c, 2, 2, &seconds))
        return false;
    *us = (hours * HOUR_S + minutes * MINUTE_S + seconds) * SECOND_US * (west ? -1 : 1);
    return minutes <= 59 && seconds <= 59;
}

static bool read_timestamp(Slice text, bool zoned, Moment *out) {
    Cursor c = cursor_new(text);
    Date date;
    int64_t offset = 0;
    if (!take_date(&c, &date) || !cursor_take(&c, ' ') || !take_time_of_day(&c, &out->us) ||
        (zoned && !take_offset(&c, &offset)) || !take_era(&c, &date, &out->days) || !cursor_done(&c))
        return false;
    out->us -= offset;
    out->days += floor_div(out->us, DAY_US);
    out->us -= floor_div(out->us, DAY_US) * DAY_US;
    return true;
}

/* ---- writing ---- */

static char *put_number(char *to, int64_t value, int width) {
    char digits[20];
    int count = 0;
    for (; value > 0 || count < width; value /= 10)
        digits[count++] = (char)('0' + value % 10);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}

/* `digits` of a fraction; negative: as many as it has. */
static char *put_clock(char *to, int64_t us, int digits) {
    int64_t fraction = us % SECOND_US, seconds = us / SECOND_US;
    to = put_number(to, seconds / HOUR_S, 2);
    *to++ = ':';
    to = put_number(to, seconds / MINUTE_S % 60, 2);
    *to++ = ':';
    to = put_number(to, seconds % 60, 2);
    int width = 6;
    while (width > 0 && (digits < 0 ? fraction % 10 == 0 : width > digits)) {
        fraction /= 10;
        width--;
    }
    if (width > 0) {
        *to++ = '.';
        to = put_number(to, fraction, width);
    }
    return to;
}

/* ISO 8601 as java.time writes it: four digits of a year, and a sign where those are not enough. */
static char *put_date(char *to, int64_t days) {
    int64_t year, month, day;
    date_of(days, &year, &month, &day);
    if (year < 0 || year > 9999)
        *to++ = year < 0 ? '-' : '+';
    to = put_number(to, year < 0 ? -year : year, YEAR_DIGITS);
    *to++ = '-';
    to = put_number(to, month, 2);
    *to++ = '-';
    return put_number(to, day, 2);
}

/* ---- each type ---- */

static bool is_infinite(Slice text) {
    return slice_is(text, "infinity") || slice_is(text, "-infinity");
}

bool convert_date(Slice text, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    Date date;
    int64_t days;
    if (is_infinite(text)) {
        *out = datum_special();
        return true;
    }
    if (!take_date(&c, &date) || !take_era(&c, &date, &days) || !cursor_done(&c))
        return cursor_refuse("a date", text, e);
    *out = datum_integer(days);
    return true;
}

static int64_t in_unit(const Kind *kind, int64_t us) {
    return kind->digits <= 3 ? floor_div(us, 1000) : us;
}

bool convert_time(const Kind *kind, Slice text, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    int64_t us;
    if (!take_time_of_day(&c, &us) || !cursor_done(&c))
        return cursor_refuse("a time", text, e);
    *out = datum_integer(in_unit(kind, us));
    return true;
}

static int64_t infinity(bool milliseconds, bool negative) {
    if (milliseconds)
        return negative ? TIMESTAMP_MINUS_INFINITY_MS : TIMESTAMP_INFINITY_MS;
    return negative ? TIMESTAMP_MINUS_INFINITY_US : TIMESTAMP_INFINITY_US;
}

bool convert_timestamp(const Kind *kind, Slice text, Datum *out, Error *e) {
    Moment moment;
    int64_t value;
    bool milliseconds = kind->digits <= 3;
    if (is_infinite(text)) {
        *out = datum_integer(infinity(milliseconds, text.at[0] == '-'));
        return true;
    }
    if (!read_timestamp(text, false, &moment))
        return cursor_refuse("a timestamp", text, e);
    bool beyond = __builtin_mul_overflow(moment.days, milliseconds ? DAY_US / 1000 : DAY_US, &value) ||
                  __builtin_add_overflow(value, milliseconds ? moment.us / 1000 : moment.us, &value);
    /* one that is taken for an infinity would come back as that */
    if (beyond || value == infinity(milliseconds, false))
        *out = datum_special();
    else
        *out = datum_integer(value);
    return true;
}

bool convert_timestamptz(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    enum { ISO_BYTES = 40 };
    Moment moment;
    *out = datum_bytes(text);
    if (is_infinite(text))
        return true;
    if (!read_timestamp(text, true, &moment))
        return cursor_refuse("a timestamp with time zone", text, e);
    char *iso = arena_raw(arena, ISO_BYTES), *to = put_date(iso, moment.days);
    *to++ = 'T';
    to = put_clock(to, moment.us, kind->digits);
    *to++ = 'Z';
    *out = datum_bytes((Slice){iso, (size_t)(to - iso)});
    return true;
}

bool convert_timetz(Slice text, Arena *arena, Datum *out, Error *e) {
    enum { ISO_BYTES = 20 };
    Cursor c = cursor_new(text);
    int64_t us, offset;
    if (!take_time_of_day(&c, &us) || !take_offset(&c, &offset) || !cursor_done(&c))
        return cursor_refuse("a time with time zone", text, e);
    if (us != DAY_US || offset != 0) { /* 24:00:00 in Greenwich stays what it is */
        us -= offset;
        us -= floor_div(us, DAY_US) * DAY_US;
    }
    char *iso = arena_raw(arena, ISO_BYTES), *to = put_clock(iso, us, -1);
    *to++ = 'Z';
    *out = datum_bytes((Slice){iso, (size_t)(to - iso)});
    return true;
}

/* ---- intervals: 1 year 2 mons -3 days +04:05:06.789 ---- */

typedef struct Interval {
    int64_t months, days, us;
} Interval;

static bool take_unit(Cursor *c, int64_t value, Interval *out) {
    if (cursor_take_text(c, " year")) {
        out->months += 12 * value;
    } else if (cursor_take_text(c, " mon")) {
        out->months += value;
    } else if (cursor_take_text(c, " day")) {
        out->days += value;
    } else {
        return false;
    }
    cursor_take(c, 's');
    return true;
}

static bool take_part(Cursor *c, Interval *out) {
    bool negative = cursor_take(c, '-');
    if (!negative)
        cursor_take(c, '+');
    Cursor clock = *c;
    int64_t value;
    if (take_clock(&clock, INT64_MAX, 10, negative ? -1 : 1, &value)) {
        *c = clock;
        out->us = value;
        return true;
    }
    return cursor_digits(c, 1, 10, &value) && take_unit(c, negative ? -value : value, out);
}

bool convert_interval(Slice text, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    Interval interval = {0};
    if (is_infinite(text)) {
        *out = datum_special();
        return true;
    }
    bool ok = take_part(&c, &interval);
    while (ok && cursor_take(&c, ' '))
        ok = take_part(&c, &interval);
    if (!ok || !cursor_done(&c))
        return cursor_refuse("an interval", text, e);
    int64_t months, days, sum;
    if (__builtin_mul_overflow(interval.months, MONTH_US, &months) ||
        __builtin_mul_overflow(interval.days, DAY_US, &days) || __builtin_add_overflow(months, days, &sum) ||
        __builtin_add_overflow(sum, interval.us, &sum))
        *out = datum_special();
    else
        *out = datum_integer(sum);
    return true;
}
