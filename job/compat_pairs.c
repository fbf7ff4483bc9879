#include "job/compat_pairs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/memory.h"

enum { BUCKETS_FIRST = 1024, KEY_BYTES_MAX = 1 << 24 };

typedef struct Waiting {
    struct Waiting *next;
    CompatPlace at;
    size_t bytes;
    CompareRecord record; /* in the same memory */
} Waiting;

/* Records that may belong together. It goes when none waits any more. */
typedef struct Group {
    struct Group *next; /* in its bucket */
    uint64_t hash;
    bool keyless;
    Waiting *first[SIDES], **last[SIDES];
    char name[]; /* the key; of the keyless what stands for it */
} Group;

struct CompatPairs {
    const char *const *prefixes;
    const CompareDecoder *decoder;
    size_t bytes_max, bytes;
    CompatFound *found;
    void *context;
    CompatCounts counts;
    Group **buckets;
    size_t bucket_count, group_count;
    bool ended[SIDES];
    Writer name;
};

CompatPairs *compat_pairs_new(const char *const prefixes[SIDES], const CompareDecoder *decoder,
                              size_t bytes_max, CompatFound *found, void *context) {
    CompatPairs *p = memory_new(sizeof *p);
    *p = (CompatPairs){
        .prefixes = prefixes, .decoder = decoder, .bytes_max = bytes_max, .found = found, .context = context};
    p->bucket_count = BUCKETS_FIRST;
    p->buckets = memory_array(p->bucket_count, sizeof *p->buckets);
    p->name = writer_new(KEY_BYTES_MAX);
    return p;
}

static void waiting_free(Waiting *each) {
    while (each != NULL) {
        Waiting *next = each->next;
        free(each);
        each = next;
    }
}

void compat_pairs_free(CompatPairs *p) {
    if (p == NULL)
        return;
    for (size_t bucket = 0; bucket < p->bucket_count; bucket++)
        for (Group *group = p->buckets[bucket], *next; group != NULL; group = next) {
            next = group->next;
            waiting_free(group->first[OURS]);
            waiting_free(group->first[THEIRS]);
            free(group);
        }
    free(p->buckets);
    writer_free(&p->name);
    free(p);
}

const CompatCounts *compat_pairs_counts(const CompatPairs *p) {
    return &p->counts;
}

/* ---- groups ---- */

static Group **bucket_of(const CompatPairs *p, uint64_t hash) {
    return &p->buckets[hash & (p->bucket_count - 1)];
}

static void grow(CompatPairs *p) {
    Group **old = p->buckets;
    size_t count = p->bucket_count;
    p->bucket_count *= 2;
    p->buckets = memory_array(p->bucket_count, sizeof *p->buckets);
    for (size_t bucket = 0; bucket < count; bucket++)
        for (Group *group = old[bucket], *next; group != NULL; group = next) {
            next = group->next;
            Group **to = bucket_of(p, group->hash);
            group->next = *to;
            *to = group;
        }
    free(old);
}

static Group *group_get(CompatPairs *p, Slice name, bool keyless) {
    uint64_t hash = XXH3_64bits(name.at, name.len);
    Group **bucket = bucket_of(p, hash);
    for (Group *group = *bucket; group != NULL; group = group->next)
        if (group->hash == hash && group->keyless == keyless && slice_is(name, group->name))
            return group;
    Group *group = memory_new(sizeof *group + name.len + 1);
    group->hash = hash;
    group->keyless = keyless;
    group->last[OURS] = &group->first[OURS];
    group->last[THEIRS] = &group->first[THEIRS];
    memcpy(group->name, name.at, name.len);
    group->next = *bucket;
    *bucket = group;
    p->bytes += sizeof *group + name.len;
    if (++p->group_count > p->bucket_count)
        grow(p);
    return group;
}

static void group_drop(CompatPairs *p, Group *group) {
    Group **at = bucket_of(p, group->hash);
    while (*at != group)
        at = &(*at)->next;
    *at = group->next;
    p->bytes -= sizeof *group + strlen(group->name);
    p->group_count--;
    free(group);
}

/* ---- records that wait ---- */

static Slice copy_into(char **to, Slice bytes) {
    if (bytes.at == NULL)
        return bytes;
    Slice out = {*to, bytes.len};
    memcpy(*to, bytes.at, bytes.len);
    *to += bytes.len;
    return out;
}

static Waiting *waiting_new(CompatPlace at, const CompareRecord *record) {
    size_t bytes =
        sizeof(Waiting) + record->header_count * sizeof(CompareHeader) + record->key.len + record->value.len;
    for (size_t header = 0; header < record->header_count; header++)
        bytes += strlen(record->headers[header].name) + 1 + record->headers[header].value.len;
    Waiting *out = memory_new(bytes);
    CompareHeader *headers = (CompareHeader *)(out + 1);
    char *to = (char *)(headers + record->header_count);
    *out = (Waiting){.at = at, .bytes = bytes, .record = *record};
    out->record.headers = headers;
    out->record.key = copy_into(&to, record->key);
    out->record.value = copy_into(&to, record->value);
    for (size_t header = 0; header < record->header_count; header++) {
        const CompareHeader *from = &record->headers[header];
        Slice name = {from->name, strlen(from->name) + 1};
        headers[header].name = copy_into(&to, name).at;
        headers[header].value = copy_into(&to, from->value);
    }
    return out;
}

static void waiting_add(CompatPairs *p, Group *group, int side, Waiting *each) {
    *group->last[side] = each;
    group->last[side] = &each->next;
    p->bytes += each->bytes;
}

/* `at` leads to it. */
static void waiting_drop(CompatPairs *p, Group *group, int side, Waiting **at) {
    Waiting *each = *at;
    *at = each->next;
    if (group->last[side] == &each->next)
        group->last[side] = at;
    p->bytes -= each->bytes;
    free(each);
}

/* ---- telling ---- */

typedef struct Pair {
    CompatPairs *p;
    CompatFinding finding;
    bool differs;
} Pair;

static void differ(void *context, const char *path, const char *const values[SIDES]) {
    Pair *pair = context;
    pair->differs = true;
    pair->finding.path = path;
    pair->finding.values[OURS] = values[OURS];
    pair->finding.values[THEIRS] = values[THEIRS];
    pair->p->found(pair->p->context, &pair->finding);
}

static const char *key_of(const Group *group) {
    return group->keyless ? NULL : group->name;
}

static void pair_compare(CompatPairs *p, const Group *group, const CompareParsed parsed[SIDES],
                         CompatPlace ours, CompatPlace theirs) {
    Pair pair = {.p = p, .finding = {.key = key_of(group), .at = {ours, theirs}}};
    p->counts.fields += compare_records(parsed, p->prefixes, differ, &pair);
    p->counts.pairs++;
    p->counts.differing += pair.differs ? 1 : 0;
}

static void alone_tell(CompatPairs *p, Group *group, int side) {
    CompatFinding finding = {.key = key_of(group), .at = {{.offset = -1}, {.offset = -1}}};
    finding.at[side] = group->first[side]->at;
    p->counts.alone[side]++;
    p->found(p->context, &finding);
    waiting_drop(p, group, side, &group->first[side]);
}

/* ---- pairing ---- */

/* The side whose record has no partner among what the other has from here on; -1: they are partners. */
static int side_alone(const CompareParsed parsed[SIDES]) {
    int64_t lsn[SIDES];
    bool empty[SIDES] = {parsed[OURS].value == NULL, parsed[THEIRS].value == NULL};
    if (empty[OURS] != empty[THEIRS])
        return empty[OURS] ? OURS : THEIRS;
    if (!compare_lsn(&parsed[OURS], &lsn[OURS]) || !compare_lsn(&parsed[THEIRS], &lsn[THEIRS]) ||
        lsn[OURS] == lsn[THEIRS])
        return -1;
    return lsn[OURS] < lsn[THEIRS] ? OURS : THEIRS;
}

static bool firsts_pair(CompatPairs *p, Group *group, Error *e) {
    Waiting *firsts[SIDES] = {group->first[OURS], group->first[THEIRS]};
    CompareParsed parsed[SIDES] = {{.key = NULL}, {.key = NULL}};
    bool ok = compare_parse(&firsts[OURS]->record, p->decoder, &parsed[OURS], e) &&
              compare_parse(&firsts[THEIRS]->record, p->decoder, &parsed[THEIRS], e);
    int alone = ok ? side_alone(parsed) : -1;
    if (alone >= 0)
        alone_tell(p, group, alone);
    else if (ok) {
        pair_compare(p, group, parsed, firsts[OURS]->at, firsts[THEIRS]->at);
        waiting_drop(p, group, OURS, &group->first[OURS]);
        waiting_drop(p, group, THEIRS, &group->first[THEIRS]);
    }
    compare_parsed_free(&parsed[OURS]);
    compare_parsed_free(&parsed[THEIRS]);
    return ok;
}

static bool group_pair(CompatPairs *p, Group *group, Error *e) {
    bool ok = true;
    while (ok && group->first[OURS] != NULL && group->first[THEIRS] != NULL)
        ok = firsts_pair(p, group, e);
    return ok;
}

/* Tells what can have no partner any more. It may be gone afterwards. */
static void group_sweep(CompatPairs *p, Group *group) {
    for (int side = 0; side < SIDES; side++) {
        int other = side == OURS ? THEIRS : OURS;
        while (p->ended[other] && group->first[other] == NULL && group->first[side] != NULL)
            alone_tell(p, group, side);
    }
    if (group->first[OURS] == NULL && group->first[THEIRS] == NULL)
        group_drop(p, group);
}

static bool same_json(const json_t *a, const json_t *b) {
    return a == b || json_equal(a, b);
}

static bool same_row(const CompareParsed *a, const CompareParsed *b) {
    return same_json(compare_before(a), compare_before(b)) && same_json(compare_after(a), compare_after(b));
}

/* The newest of this side, with one of the other that has the same row. */
static bool keyless_pair(CompatPairs *p, Group *group, int side, const CompareParsed *newest, CompatPlace at,
                         bool *paired, Error *e) {
    int other = side == OURS ? THEIRS : OURS;
    *paired = false;
    for (Waiting **each = &group->first[other]; *each != NULL && !*paired;) {
        CompareParsed parsed[SIDES] = {{.key = NULL}, {.key = NULL}};
        parsed[side] = *newest;
        if (!compare_parse(&(*each)->record, p->decoder, &parsed[other], e))
            return false;
        *paired = same_row(newest, &parsed[other]);
        if (*paired && side == OURS)
            pair_compare(p, group, parsed, at, (*each)->at);
        else if (*paired)
            pair_compare(p, group, parsed, (*each)->at, at);
        compare_parsed_free(&parsed[other]);
        if (*paired)
            waiting_drop(p, group, other, each);
        else
            each = &(*each)->next;
    }
    return true;
}

/* What the records of a group have in common. */
static void name_write(Writer *out, const CompareParsed *parsed) {
    int64_t lsn;
    writer_reset(out);
    if (parsed->key != NULL) {
        compare_key_write(parsed, out);
    } else if (compare_lsn(parsed, &lsn)) {
        writer_format(out, "%" PRId64, lsn);
    } else if (compare_after(parsed) != NULL) {
        char *text = json_dumps(compare_after(parsed), JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        writer_text(out, text);
        free(text);
    }
}

/* Settles what can be: rows without a key wait for the same one, and take another one in the end. */
static bool keyless_settle(CompatPairs *p, Error *e) {
    bool ok = true;
    for (size_t bucket = 0; ok && bucket < p->bucket_count; bucket++)
        for (Group *group = p->buckets[bucket], *next; ok && group != NULL; group = next) {
            next = group->next;
            ok = group_pair(p, group, e);
            if (ok)
                group_sweep(p, group);
        }
    return ok;
}

/* Always false. */
static bool too_many(const CompatPairs *p, Error *e) {
    size_t bucket = 0;
    while (p->buckets[bucket] == NULL)
        bucket++;
    const Group *group = p->buckets[bucket];
    int side = group->first[OURS] != NULL ? OURS : THEIRS;
    const CompatPlace *at = &group->first[side]->at;
    fail(e, ERR_CONFIG,
         "more than %zu MiB of records wait for their partners, such as the one with key %.100s under \"%s\" "
         "(partition %" PRId32 ", offset %" PRId64 ")",
         p->bytes_max >> 20, group->keyless ? "null" : group->name, p->prefixes[side], at->partition,
         at->offset);
    return fail_hint(
        e, "the two hold different records, or have them in very different orders; raise \"memory\" if "
           "they should be the same");
}

static bool take_parsed(CompatPairs *p, int side, CompatPlace at, const CompareRecord *record,
                        const CompareParsed *parsed, Error *e) {
    bool keyless = parsed->key == NULL, paired = false;
    name_write(&p->name, parsed);
    Group *group = group_get(p, writer_slice(&p->name), keyless);
    if (keyless && !keyless_pair(p, group, side, parsed, at, &paired, e))
        return false;
    if (!paired)
        waiting_add(p, group, side, waiting_new(at, record));
    if (!keyless && !group_pair(p, group, e))
        return false;
    group_sweep(p, group);
    if (p->bytes <= p->bytes_max)
        return true;
    return keyless_settle(p, e) && (p->bytes <= p->bytes_max || too_many(p, e));
}

bool compat_pairs_take(CompatPairs *p, int side, CompatPlace at, const CompareRecord *record, Error *e) {
    CompareParsed parsed;
    if (record->key.at == NULL && record->value.at == NULL)
        return true;
    p->counts.records[side]++;
    if (!compare_parse(record, p->decoder, &parsed, e))
        return fail_context(e, "partition %" PRId32 ", offset %" PRId64, at.partition, at.offset);
    bool ok = take_parsed(p, side, at, record, &parsed, e);
    compare_parsed_free(&parsed);
    return ok;
}

bool compat_pairs_end(CompatPairs *p, int side, Error *e) {
    p->ended[side] = true;
    if (p->ended[OURS] && p->ended[THEIRS] && !keyless_settle(p, e))
        return false;
    for (size_t bucket = 0; bucket < p->bucket_count; bucket++)
        for (Group *group = p->buckets[bucket], *next; group != NULL; group = next) {
            next = group->next;
            group_sweep(p, group);
        }
    return true;
}
