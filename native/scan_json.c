/* One line of JSON, checked from end to end; of its values only those that usage needs are kept.
 *
 * What is kept must be of the declared type, or null; numbers must be whole and small, names written without escapes
 * and not twice. NULL says: not so, leave the line alone. A line feed stops every loop, and the data ends with one.
 */
#include "scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_TEXT, KIND_COUNT, KIND_FLAG, KIND_MONEY, KIND_OBJECT };

struct field {
    const char *name;
    uint8_t length;
    uint8_t kind;
    size_t offset;
    const struct shape *inner;
};

struct shape {
    const struct field *fields;
    size_t count;
};

#define FIELD(name, kind, place, inner) {name, sizeof(name) - 1, kind, place, inner}
#define SHAPE(fields) {fields, sizeof(fields) / sizeof((fields)[0])}

static const struct field created_fields[] = {
    FIELD("ephemeral_5m_input_tokens", KIND_COUNT, offsetof(struct created, five), NULL),
    FIELD("ephemeral_1h_input_tokens", KIND_COUNT, offsetof(struct created, hour), NULL),
};
static const struct shape created_shape = SHAPE(created_fields);

static const struct field tools_fields[] = {
    FIELD("web_search_requests", KIND_COUNT, offsetof(struct tools, searches), NULL),
};
static const struct shape tools_shape = SHAPE(tools_fields);

static const struct field usage_fields[] = {
    FIELD("input_tokens", KIND_COUNT, offsetof(struct usage, input), NULL),
    FIELD("output_tokens", KIND_COUNT, offsetof(struct usage, output), NULL),
    FIELD("cache_creation_input_tokens", KIND_COUNT, offsetof(struct usage, write), NULL),
    FIELD("cache_read_input_tokens", KIND_COUNT, offsetof(struct usage, read), NULL),
    FIELD("cache_creation", KIND_OBJECT, offsetof(struct usage, created), &created_shape),
    FIELD("server_tool_use", KIND_OBJECT, offsetof(struct usage, tools), &tools_shape),
    FIELD("service_tier", KIND_TEXT, offsetof(struct usage, tier), NULL),
    FIELD("speed", KIND_TEXT, offsetof(struct usage, speed), NULL),
    FIELD("inference_geo", KIND_TEXT, offsetof(struct usage, region), NULL),
};
static const struct shape usage_shape = SHAPE(usage_fields);

static const struct field message_fields[] = {
    FIELD("id", KIND_TEXT, offsetof(struct message, id), NULL),
    FIELD("model", KIND_TEXT, offsetof(struct message, model), NULL),
    FIELD("role", KIND_TEXT, offsetof(struct message, role), NULL),
    FIELD("usage", KIND_OBJECT, offsetof(struct message, usage), &usage_shape),
    FIELD("stop_reason", KIND_TEXT, offsetof(struct message, stop_reason), NULL),
};
static const struct shape message_shape = SHAPE(message_fields);

static const struct field fork_fields[] = {
    FIELD("sessionId", KIND_TEXT, offsetof(struct fork, session), NULL),
};
static const struct shape fork_shape = SHAPE(fork_fields);

#define SAYING(base)                                                                      \
    FIELD("type", KIND_TEXT, (base) + offsetof(struct saying, type), NULL),               \
    FIELD("message", KIND_OBJECT, (base) + offsetof(struct saying, message), &message_shape), \
    FIELD("timestamp", KIND_TEXT, (base) + offsetof(struct saying, timestamp), NULL),     \
    FIELD("requestId", KIND_TEXT, (base) + offsetof(struct saying, request), NULL),       \
    FIELD("uuid", KIND_TEXT, (base) + offsetof(struct saying, uuid), NULL),               \
    FIELD("costUSD", KIND_MONEY, (base) + offsetof(struct saying, cost), NULL),           \
    FIELD("gitBranch", KIND_TEXT, (base) + offsetof(struct saying, branch), NULL),        \
    FIELD("attributionSkill", KIND_TEXT, (base) + offsetof(struct saying, skill), NULL),  \
    FIELD("attributionMcpServer", KIND_TEXT, (base) + offsetof(struct saying, server), NULL)

static const struct field nested_fields[] = {SAYING(0)};
static const struct shape nested_shape = SHAPE(nested_fields);

static const struct field progress_fields[] = {
    FIELD("type", KIND_TEXT, offsetof(struct progress, type), NULL),
    FIELD("agentId", KIND_TEXT, offsetof(struct progress, agent), NULL),
    FIELD("message", KIND_OBJECT, offsetof(struct progress, line), &nested_shape),
};
static const struct shape progress_shape = SHAPE(progress_fields);

static const struct field line_fields[] = {
    SAYING(offsetof(struct line, said)),
    FIELD("sessionId", KIND_TEXT, offsetof(struct line, session), NULL),
    FIELD("isSidechain", KIND_FLAG, offsetof(struct line, sidechain), NULL),
    FIELD("agentId", KIND_TEXT, offsetof(struct line, agent), NULL),
    FIELD("cwd", KIND_TEXT, offsetof(struct line, cwd), NULL),
    FIELD("requestSessionId", KIND_TEXT, offsetof(struct line, asker), NULL),
    FIELD("forkedFrom", KIND_OBJECT, offsetof(struct line, fork), &fork_shape),
    FIELD("data", KIND_OBJECT, offsetof(struct line, data), &progress_shape),
};
static const struct shape line_shape = SHAPE(line_fields);

static const uint8_t *skip_space(const uint8_t *at) {
    while (*at == ' ' || *at == '\t' || *at == '\r') {
        at++;
    }
    return at;
}

static bool is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

static const uint8_t *digits_end(const uint8_t *at) {
    if (!is_digit(*at)) {
        return NULL;
    }
    while (is_digit(*at)) {
        at++;
    }
    return at;
}

static const uint8_t *number_end(const uint8_t *at) {
    at += *at == '-';
    at = *at == '0' ? at + 1 : digits_end(at);
    if (at != NULL && *at == '.') {
        at = digits_end(at + 1);
    }
    if (at != NULL && (*at == 'e' || *at == 'E')) {
        at++;
        at = digits_end(at + (*at == '+' || *at == '-'));
    }
    return at;
}

/* Returns the four digits after a backslash and an u, or -1. */
static int32_t code_unit(const uint8_t *at) {
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t byte = at[i], low = (uint8_t)(byte | 0x20);
        if (is_digit(byte)) {
            unit = unit * 16 + (byte - '0');
        } else if (low >= 'a' && low <= 'f') {
            unit = unit * 16 + (low - 'a' + 10);
        } else {
            return -1;
        }
    }
    return unit;
}

static const uint8_t *escape_end(const uint8_t *at) {
    switch (at[1]) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
        return at + 2;
    case 'u':
        break;
    default:
        return NULL;
    }
    int32_t unit = code_unit(at + 2);
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF)) {
        return NULL;
    }
    if (unit < 0xD800 || unit > 0xDFFF) {
        return at + 6;
    }
    if (at[6] != '\\' || at[7] != 'u') {
        return NULL;
    }
    unit = code_unit(at + 8);
    return unit >= 0xDC00 && unit <= 0xDFFF ? at + 12 : NULL;
}

/* Takes the place behind the first quote, returns that of the last; tells whether there are escapes. */
static const uint8_t *string_end(const uint8_t *at, bool *escaped) {
    for (;;) {
        at = plain_end(at);
        if (*at == '"') {
            return at;
        }
        if (*at != '\\') {
            return NULL;
        }
        *escaped = true;
        at = escape_end(at);
        if (at == NULL) {
            return NULL;
        }
    }
}

static const uint8_t *skip_value(const uint8_t *at, unsigned depth);

static const uint8_t *skip_name(const uint8_t *at) {
    bool escaped;
    at = *at == '"' ? string_end(at + 1, &escaped) : NULL;
    at = at == NULL ? NULL : skip_space(at + 1);
    return at != NULL && *at == ':' ? skip_space(at + 1) : NULL;
}

/* An object or a list, whose first byte is at `at`. */
static const uint8_t *skip_group(const uint8_t *at, unsigned depth) {
    const bool named = *at == '{';
    const uint8_t end = named ? '}' : ']';
    at = skip_space(at + 1);
    if (*at == end) {
        return at + 1;
    }
    while (depth < DEPTH_LIMIT) {
        at = named ? skip_name(at) : at;
        at = at == NULL ? NULL : skip_value(at, depth + 1);
        if (at == NULL) {
            return NULL;
        }
        at = skip_space(at);
        if (*at == end) {
            return at + 1;
        }
        if (*at != ',') {
            return NULL;
        }
        at = skip_space(at + 1);
    }
    return NULL;
}

static const uint8_t *word_end(const uint8_t *at, const char *word, size_t length) {
    return same_bytes(at, word, length) ? at + length : NULL;
}

static const uint8_t *skip_value(const uint8_t *at, unsigned depth) {
    bool escaped;
    switch (*at) {
    case '"':
        at = string_end(at + 1, &escaped);
        return at == NULL ? NULL : at + 1;
    case '{': case '[':
        return skip_group(at, depth);
    case 't':
        return word_end(at, "true", 4);
    case 'f':
        return word_end(at, "false", 5);
    case 'n':
        return word_end(at, "null", 4);
    default:
        return number_end(at);
    }
}

/* Tells whether bytes are the one right UTF-8 of some characters, surrogates excluded. */
static bool is_text(const uint8_t *at, size_t length) {
    const uint8_t *end = at + length;
    while (at < end) {
        uint32_t byte = *at;
        size_t more = byte < 0x80 ? 0 : byte < 0xC2 ? 9 : byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : byte < 0xF5 ? 3 : 9;
        if (more >= (size_t)(end - at)) {
            return false;
        }
        uint32_t code = more == 0 ? byte : byte & (0x3Fu >> more);
        for (size_t i = 1; i <= more; i++) {
            if ((at[i] & 0xC0) != 0x80) {
                return false;
            }
            code = code << 6 | (at[i] & 0x3Fu);
        }
        bool surrogate = code >= 0xD800 && code <= 0xDFFF;
        if (surrogate || code > 0x10FFFF || (more == 2 && code < 0x800) || (more == 3 && code < 0x10000)) {
            return false;
        }
        at += more + 1;
    }
    return true;
}

/* Writes a string without its escapes to the arena; false where it has one that names a code. */
static bool unescape(struct text *text, struct arena *arena) {
    static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (text->length > ARENA_BYTES - arena->used) {
        return false;
    }
    uint8_t *made = arena->bytes + arena->used;
    size_t length = 0;
    for (size_t i = 0; i < text->length; i++) {
        uint8_t byte = text->at[i];
        if (byte == '\\') {
            const char *found = memchr(plain, text->at[++i], sizeof plain - 1);
            if (found == NULL) {
                return false;
            }
            byte = (uint8_t)meant[found - plain];
        }
        made[length++] = byte;
    }
    *text = (struct text){made, length};
    arena->used += length;
    return true;
}

static const uint8_t *read_text(const uint8_t *at, struct text *text, struct arena *arena) {
    bool escaped = false;
    const uint8_t *end = *at == '"' ? string_end(at + 1, &escaped) : NULL;
    if (end == NULL) {
        return NULL;
    }
    *text = (struct text){at + 1, (size_t)(end - at) - 1};
    if (text->length > TEXT_LIMIT || !is_text(text->at, text->length) || (escaped && !unescape(text, arena))) {
        return NULL;
    }
    return end + 1;
}

static const uint8_t *read_count(const uint8_t *at, int64_t *count) {
    const uint8_t *end = *at == '0' ? at + 1 : digits_end(at);
    if (end == NULL || end - at > 16) {
        return NULL;
    }
    for (*count = 0; at < end; at++) {
        *count = *count * 10 + (*at - '0');
    }
    return *count <= LARGEST_NUMBER && *end != '.' && *end != 'e' && *end != 'E' ? end : NULL;
}

static const uint8_t *read_money(const uint8_t *at, int64_t *micros) {
    char number[32];
    const uint8_t *end = number_end(at);
    if (end == NULL || (size_t)(end - at) >= sizeof number) {
        return NULL;
    }
    memcpy(number, at, (size_t)(end - at));
    number[end - at] = '\0';
    double exact = strtod(number, NULL) * 1e6;
    if (!(exact > -1e300 && exact < 1e300)) {
        return NULL;
    }
    *micros = exact >= 0 && exact <= (double)LARGEST_NUMBER ? (int64_t)rint(exact) : -1;
    return end;
}

static const uint8_t *read_object(
    const uint8_t *at, const struct shape *shape, uint8_t *base, struct arena *arena, unsigned depth
);

static const uint8_t *read_field(
    const uint8_t *at, const struct field *field, uint8_t *base, struct arena *arena, unsigned depth
) {
    void *place = base + field->offset;
    if (*at == 'n') {
        return word_end(at, "null", 4);
    }
    switch (field->kind) {
    case KIND_TEXT:
        return read_text(at, place, arena);
    case KIND_COUNT:
        return read_count(at, place);
    case KIND_MONEY:
        return read_money(at, place);
    case KIND_FLAG:
        *(uint8_t *)place = *at == 't' ? FLAG_TRUE : FLAG_FALSE;
        return *at == 't' ? word_end(at, "true", 4) : word_end(at, "false", 5);
    default:
        *(bool *)place = true;
        return *at == '{' ? read_object(at, field->inner, place, arena, depth + 1) : NULL;
    }
}

static const struct field *field_named(const struct shape *shape, const uint8_t *name, size_t length) {
    for (const struct field *field = shape->fields; field < shape->fields + shape->count; field++) {
        if (field->length == length && field->name[0] == (char)name[0] && same_bytes(field->name, name, length)) {
            return field;
        }
    }
    return NULL;
}

static const uint8_t *read_object(
    const uint8_t *at, const struct shape *shape, uint8_t *base, struct arena *arena, unsigned depth
) {
    uint32_t seen = 0;
    at = skip_space(at + 1);
    if (*at == '}') {
        return at + 1;
    }
    for (;;) {
        bool escaped = false;
        const uint8_t *name = at + 1;
        const uint8_t *end = *at == '"' ? string_end(name, &escaped) : NULL;
        at = end == NULL || escaped ? NULL : skip_space(end + 1);
        if (at == NULL || *at != ':') {
            return NULL;
        }
        at = skip_space(at + 1);
        const struct field *field = field_named(shape, name, (size_t)(end - name));
        uint32_t bit = field == NULL ? 0 : 1u << (field - shape->fields);
        if (seen & bit) {
            return NULL;
        }
        seen |= bit;
        at = field == NULL ? skip_value(at, depth + 1) : read_field(at, field, base, arena, depth);
        if (at == NULL) {
            return NULL;
        }
        at = skip_space(at);
        if (*at == '}') {
            return at + 1;
        }
        if (*at != ',') {
            return NULL;
        }
        at = skip_space(at + 1);
    }
}

/* The static C library clears byte by byte, which for every line would be a tenth of all the time. */
static void clear(struct line *line) {
    uint64_t *word = (uint64_t *)(void *)line;
    for (size_t i = 0; i < sizeof *line / sizeof *word; i++) {
        word[i] = 0;
    }
}

_Static_assert(sizeof(struct line) % sizeof(uint64_t) == 0, "a line is cleared in words");

static void clear_saying(struct saying *said) {
    struct usage *usage = &said->message.usage;
    said->cost = usage->input = usage->output = usage->write = usage->read = -1;
    usage->created.five = usage->created.hour = usage->tools.searches = -1;
}

const uint8_t *line_read(const uint8_t *at, struct line *line, struct arena *arena) {
    clear(line);
    arena->used = 0;
    clear_saying(&line->said);
    clear_saying(&line->data.line);
    at = skip_space(at);
    at = *at == '{' ? read_object(at, &line_shape, (uint8_t *)line, arena, 1) : NULL;
    at = at == NULL ? NULL : skip_space(at);
    return at != NULL && *at == '\n' ? at : NULL;
}

static bool pair(const uint8_t *at, int64_t least, int64_t most, int64_t *number) {
    *number = (at[0] - '0') * 10 + (at[1] - '0');
    return is_digit(at[0]) && is_digit(at[1]) && *number >= least && *number <= most;
}

/* Days from 1970-01-01 to a day of the Gregorian calendar. */
static int64_t days(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400, in_era = year - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

bool time_read(const struct text *text, int64_t *at) {
    static const uint8_t form[] = "0000-00-00T00:00:00.000Z";
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t century, year, month, day, hour, minute, second, hundredths;
    const uint8_t *from = text->at;
    *at = UNKNOWN_TIME;
    if (from == NULL || text->length == 0) {
        return true;
    }
    if (text->length != sizeof form - 1) {
        return false;
    }
    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (form[i] == '0' ? !is_digit(from[i]) : from[i] != form[i]) {
            return false;
        }
    }
    bool right = pair(from, 19, 29, &century) && pair(from + 2, 0, 99, &year) && pair(from + 5, 1, 12, &month)
        && pair(from + 8, 1, 31, &day) && pair(from + 11, 0, 23, &hour) && pair(from + 14, 0, 59, &minute)
        && pair(from + 17, 0, 59, &second) && pair(from + 20, 0, 99, &hundredths);
    if (!right) {
        return false;
    }
    year += century * 100;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > lengths[month - 1] + (month == 2 && leap)) {
        return false;
    }
    int64_t seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *at = seconds * 1000 + hundredths * 10 + (from[22] - '0');
    return true;
}
