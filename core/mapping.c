#include "core/mapping.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/change.h"
#include "core/config_value.h"
#include "core/memory.h"
#include "core/options.h"

typedef enum RuleKind { RULE_SCHEMA, RULE_TABLE, RULE_COLUMN, RULE_WHERE, RULE_LISTED } RuleKind;
static const char *const OPTIONS[] = {"objects.rename.schemas", "objects.rename.tables",
                                      "objects.rename.columns", "objects.tables", "objects.tables"};

/* One thing that the job says of a name. Parts that its kind does not name are "". */
typedef struct Rule {
    RuleKind kind;
    const char *schema, *table, *column;
    const char *to_schema, *to; /* WHERE: `to` is the condition; LISTED: unused */
} Rule;

/* What the job says of the changes of a table, or of all that fit a pattern. */
typedef struct ChoiceRule {
    ChoiceKind kind;
    bool pattern;
    int letters; /* beside the stars */
    ConfigName name;
    unsigned value; /* a ConflictPolicy, or kinds as in ApplyChoice */
} ChoiceRule;

_Static_assert(CHANGE_INSERT == 0 && CHANGE_UPDATE == 1 && CHANGE_DELETE == 2 && CHANGE_TRUNCATE == 3,
               "objects.dml lists the kinds in the order of ChangeKind");

struct Mapping {
    Arena *arena;
    LetterCase letter_case;
    bool chooses;
    int include_count, exclude_count, rule_count;
    ConfigName *include, *exclude;
    Rule *rules; /* by kind and names */
    ChoiceRule *choices;
    int choice_count;
    ApplyChoice of_job;
};

/* ---- compiling ---- */

static int rule_compare(const void *a, const void *b) {
    const Rule *left = a, *right = b;
    if (left->kind != right->kind)
        return left->kind < right->kind ? -1 : 1;
    int by_schema = strcmp(left->schema, right->schema);
    int by_table = by_schema != 0 ? by_schema : strcmp(left->table, right->table);
    return by_table != 0 ? by_table : strcmp(left->column, right->column);
}

static const char *text_keep(Mapping *m, const char *text) {
    return arena_text(m->arena, slice_text(text));
}

static ConfigName name_read(const char *text, const char **rest) {
    ConfigName name;
    bool read = config_table_read(text, &name, rest);
    assert(read);
    (void)read;
    return name;
}

static Rule rule_of(Mapping *m, RuleKind kind, const ConfigPair *pair) {
    Rule rule = {.kind = kind, .schema = "", .table = "", .column = "", .to = pair->value};
    if (kind == RULE_SCHEMA) {
        rule.schema = pair->key;
        return rule;
    }
    ConfigName from = name_read(pair->key, kind == RULE_COLUMN ? &rule.column : NULL);
    rule.schema = text_keep(m, from.schema);
    rule.table = text_keep(m, from.table);
    if (kind == RULE_LISTED)
        rule.column = pair->value;
    if (kind == RULE_TABLE) {
        ConfigName to = name_read(pair->value, NULL);
        rule.to_schema = text_keep(m, to.schema);
        rule.to = text_keep(m, to.table);
    }
    return rule;
}

static void rules_add(Mapping *m, RuleKind kind, const ConfigPairs *pairs) {
    for (int at = 0; at < pairs->count; at++)
        m->rules[m->rule_count++] = rule_of(m, kind, &pairs->items[at]);
}

static void rules_compile(Mapping *m, const Config *cfg) {
    const ConfigPairs *const lists[] = {&cfg->objects.rename.schemas, &cfg->objects.rename.tables,
                                        &cfg->objects.rename.columns, &cfg->objects.where,
                                        &cfg->objects.columns};
    size_t count = 1;
    for (int kind = RULE_SCHEMA; kind <= RULE_LISTED; kind++)
        count += (size_t)lists[kind]->count;
    m->rules = arena_alloc(m->arena, count * sizeof *m->rules);
    for (int kind = RULE_SCHEMA; kind <= RULE_LISTED; kind++)
        rules_add(m, (RuleKind)kind, lists[kind]);
    qsort(m->rules, (size_t)m->rule_count, sizeof *m->rules, rule_compare);
}

static void patterns_compile(Mapping *m, const Config *cfg) {
    const ConfigTexts *include = &cfg->objects.include, *exclude = &cfg->objects.exclude;
    size_t most = (size_t)include->count + (size_t)exclude->count + 1;
    m->include = arena_alloc(m->arena, most * sizeof *m->include);
    m->exclude = arena_alloc(m->arena, most * sizeof *m->exclude);
    for (int at = 0; at < include->count; at++) {
        const char *text = include->items[at];
        if (text[0] == '!')
            m->exclude[m->exclude_count++] = name_read(text + 1, NULL);
        else
            m->include[m->include_count++] = name_read(text, NULL);
    }
    for (int at = 0; at < exclude->count; at++)
        m->exclude[m->exclude_count++] = name_read(exclude->items[at], NULL);
}

static const char DML_WORDS[] = "insert|update|delete|truncate", CONFLICT_WORDS[] = "stop|source-wins|skip";

static unsigned word_place(const char *words, const char *word) {
    Slice found;
    unsigned place = 0;
    while (option_choice(words, (int)place, &found) && !slice_is(found, word))
        place++;
    return place;
}

static int letters_count(const char *part) {
    int letters = 0;
    for (; *part != '\0'; part++)
        letters += *part != '*';
    return letters;
}

/* A list has a pair for each of its words. */
static ChoiceRule *choice_add(Mapping *m, ChoiceKind kind, const char *key) {
    ConfigName name = name_read(key, NULL);
    for (int at = 0; kind == CHOICE_TAKES && at < m->choice_count; at++) {
        ChoiceRule *rule = &m->choices[at];
        if (rule->kind == kind && strcmp(rule->name.schema, name.schema) == 0 &&
            strcmp(rule->name.table, name.table) == 0)
            return rule;
    }
    ChoiceRule *rule = &m->choices[m->choice_count++];
    *rule = (ChoiceRule){.kind = kind,
                         .pattern = strchr(name.schema, '*') != NULL || strchr(name.table, '*') != NULL,
                         .letters = letters_count(name.schema) + letters_count(name.table),
                         .name = name};
    return rule;
}

static void choices_compile(Mapping *m, const Config *cfg) {
    const ConfigPairs *dml = &cfg->objects.table_dml, *conflicts = &cfg->objects.table_conflicts;
    m->choices = arena_alloc(m->arena, (size_t)(dml->count + conflicts->count + 1) * sizeof *m->choices);
    for (int at = 0; at < dml->count; at++)
        choice_add(m, CHOICE_TAKES, dml->items[at].key)->value |=
            1u << word_place(DML_WORDS, dml->items[at].value);
    for (int at = 0; at < conflicts->count; at++)
        choice_add(m, CHOICE_CONFLICTS, conflicts->items[at].key)->value =
            word_place(CONFLICT_WORDS, conflicts->items[at].value);
    for (int kind = CHANGE_INSERT; kind <= CHANGE_TRUNCATE; kind++)
        m->of_job.takes |= cfg->objects.dml[kind] ? 1u << kind : 0;
    m->of_job.conflicts = cfg->conflicts;
}

Mapping *mapping_new(const Config *cfg) {
    Mapping *m = memory_new(sizeof *m);
    m->arena = arena_new();
    m->letter_case = cfg->objects.letter_case;
    patterns_compile(m, cfg);
    rules_compile(m, cfg);
    choices_compile(m, cfg);
    return m;
}

void mapping_free(Mapping *m) {
    if (m != NULL)
        arena_free(m->arena);
    free(m);
}

static bool choices_differ(const ChoiceRule *a, const ChoiceRule *b) {
    return a->kind != b->kind || strcmp(a->name.schema, b->name.schema) != 0 ||
           strcmp(a->name.table, b->name.table) != 0;
}

bool mapping_check(const Config *cfg, Error *e) {
    Mapping *m = mapping_new(cfg);
    bool good = true;
    for (int at = 1; good && at < m->rule_count; at++) {
        const Rule *rule = &m->rules[at];
        if (rule_compare(rule - 1, rule) != 0)
            continue;
        const char *dot = rule->table[0] == '\0' ? "" : ".", *column_dot = rule->column[0] == '\0' ? "" : ".";
        good = fail(e, ERR_CONFIG, "\"%s\" names \"%s%s%s%s%s\" twice", OPTIONS[rule->kind], rule->schema,
                    dot, rule->table, column_dot, rule->column);
    }
    for (int at = 1; good && at < m->choice_count; at++)
        for (int before = 0; good && before < at; before++)
            good = choices_differ(&m->choices[before], &m->choices[at]) ||
                   fail(e, ERR_CONFIG, "\"objects.tables\" names \"%s.%s\" twice", m->choices[at].name.schema,
                        m->choices[at].name.table);
    mapping_free(m);
    return good;
}

/* ---- choosing ---- */

/* Goes back only to the last star: what an earlier one took never needs to change. */
static bool part_matches(const char *pattern, const char *name) {
    const char *star = NULL, *from = NULL;
    while (*name != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            from = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star != NULL) {
            pattern = star + 1;
            name = ++from;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}

static bool any_matches(const ConfigName *patterns, int count, const char *schema, const char *name) {
    for (int at = 0; at < count; at++)
        if (part_matches(patterns[at].schema, schema) && part_matches(patterns[at].table, name))
            return true;
    return false;
}

Taken mapping_takes(const Mapping *m, const char *schema, const char *name) {
    if (any_matches(m->exclude, m->exclude_count, schema, name))
        return TAKEN_EXCLUDED;
    bool taken = m->include_count == 0 || any_matches(m->include, m->include_count, schema, name);
    return taken ? TAKEN_YES : TAKEN_NO;
}

bool mapping_chooses(const Mapping *m) {
    return m->include_count > 0;
}

/* ---- names ---- */

static const Rule *rule_find(const Mapping *m, RuleKind kind, const char *schema, const char *table,
                             const char *column) {
    const Rule wanted = {.kind = kind, .schema = schema, .table = table, .column = column};
    return bsearch(&wanted, m->rules, (size_t)m->rule_count, sizeof wanted, rule_compare);
}

static char letter_fold(char letter, LetterCase letter_case) {
    if (letter_case == CASE_LOWER && letter >= 'A' && letter <= 'Z')
        return (char)(letter - 'A' + 'a');
    if (letter_case == CASE_UPPER && letter >= 'a' && letter <= 'z')
        return (char)(letter - 'a' + 'A');
    return letter;
}

static const char *name_fold(const Mapping *m, Arena *arena, const char *name) {
    const char *first = name;
    while (*first != '\0' && letter_fold(*first, m->letter_case) == *first)
        first++;
    if (*first == '\0')
        return name;
    char *folded = arena_text(arena, slice_text(name));
    for (char *at = folded; *at != '\0'; at++)
        *at = letter_fold(*at, m->letter_case);
    return folded;
}

const char *mapping_schema(const Mapping *m, Arena *arena, const char *schema) {
    const Rule *rule = rule_find(m, RULE_SCHEMA, schema, "", "");
    if (rule == NULL)
        return name_fold(m, arena, schema);
    return strcmp(rule->to, schema) == 0 ? schema : arena_text(arena, slice_text(rule->to));
}

MappedName mapping_relation(const Mapping *m, Arena *arena, const char *schema, const char *name) {
    const Rule *rule = rule_find(m, RULE_TABLE, schema, name, "");
    if (rule == NULL)
        return (MappedName){mapping_schema(m, arena, schema), name_fold(m, arena, name)};
    bool schema_stays = strcmp(rule->to_schema, schema) == 0, name_stays = strcmp(rule->to, name) == 0;
    return (MappedName){schema_stays ? schema : arena_text(arena, slice_text(rule->to_schema)),
                        name_stays ? name : arena_text(arena, slice_text(rule->to))};
}

const char *mapping_column(const Mapping *m, Arena *arena, const char *schema, const char *table,
                           const char *column) {
    const Rule *rule = rule_find(m, RULE_COLUMN, schema, table, column);
    if (rule == NULL)
        return name_fold(m, arena, column);
    return strcmp(rule->to, column) == 0 ? column : arena_text(arena, slice_text(rule->to));
}

bool mapping_renames(const Mapping *m) {
    return m->letter_case != CASE_KEEP || (m->rule_count > 0 && m->rules[0].kind <= RULE_COLUMN);
}

/* ---- tables ---- */

const char *mapping_where(const Mapping *m, const char *schema, const char *table) {
    const Rule *rule = rule_find(m, RULE_WHERE, schema, table, "");
    return rule == NULL ? NULL : rule->to;
}

static int table_compare(const void *a, const void *b) {
    Rule left = *(const Rule *)a, right = *(const Rule *)b;
    left.column = right.column = "";
    return rule_compare(&left, &right);
}

bool mapping_lists(const Mapping *m, const char *schema, const char *table) {
    const Rule wanted = {.kind = RULE_LISTED, .schema = schema, .table = table, .column = ""};
    return bsearch(&wanted, m->rules, (size_t)m->rule_count, sizeof wanted, table_compare) != NULL;
}

bool mapping_list_holds(const Mapping *m, const char *schema, const char *table, const char *column) {
    return rule_find(m, RULE_LISTED, schema, table, column) != NULL;
}

int mapping_choice(const Mapping *m, ChoiceKind kind, bool by_pattern, const char *schema,
                   const char *table) {
    const ChoiceRule *best = NULL;
    for (int at = 0; at < m->choice_count; at++) {
        const ChoiceRule *rule = &m->choices[at];
        bool fits = rule->kind == kind && rule->pattern == by_pattern &&
                    part_matches(rule->name.schema, schema) && part_matches(rule->name.table, table);
        if (fits && (best == NULL || rule->letters > best->letters))
            best = rule;
    }
    return best == NULL ? -1 : (int)best->value;
}

ApplyChoice mapping_choice_of_job(const Mapping *m) {
    return m->of_job;
}

static void text_print(Writer *out, const char *text) {
    writer_u32(out, (uint32_t)strlen(text));
    writer_text(out, text);
}

void mapping_print(const Mapping *m, char out[MAPPING_PRINT_SIZE]) {
    Writer all = writer_new(SIZE_MAX);
    writer_u8(&all, (uint8_t)m->letter_case);
    for (int at = 0; at < m->rule_count; at++) {
        const Rule *rule = &m->rules[at];
        writer_u8(&all, (uint8_t)rule->kind);
        text_print(&all, rule->schema);
        text_print(&all, rule->table);
        text_print(&all, rule->column);
        text_print(&all, rule->kind == RULE_TABLE ? rule->to_schema : "");
        text_print(&all, rule->kind == RULE_LISTED ? "" : rule->to);
    }
    snprintf(out, MAPPING_PRINT_SIZE, "%016" PRIx64, (uint64_t)XXH64(all.at, all.len, 0));
    writer_free(&all);
}

static const char *named_part(const char *part) {
    return part[0] == '\0' ? NULL : part;
}

bool mapping_visit(const Mapping *m, bool (*visit)(void *context, const NamedObject *named, Error *e),
                   void *context, Error *e) {
    for (int at = 0; at < m->rule_count; at++) {
        const Rule *rule = &m->rules[at];
        const NamedObject named = {.option = OPTIONS[rule->kind],
                                   .schema = rule->schema,
                                   .table = named_part(rule->table),
                                   .column = named_part(rule->column)};
        if (!visit(context, &named, e))
            return false;
    }
    for (int at = 0; at < m->choice_count; at++) {
        const ChoiceRule *rule = &m->choices[at];
        const NamedObject named = {
            .option = "objects.tables", .schema = rule->name.schema, .table = rule->name.table};
        if (!rule->pattern && !visit(context, &named, e))
            return false;
    }
    return true;
}
