/* Watchkeeper's scanner: reads from transcripts only what usage and cost need, on every processor.
 *
 * It answers for whole files that are in today's form, and says of every other that it is not for it to judge: then
 * sources/claude_code/usage_scan.py reads that file, whose words it must repeat exactly where it does speak.
 *
 * scan_search.c finds bytes, scan_json.c reads a line, scan_facts.c joins lines to requests, scan_strings.c keeps each
 * string once, scan_marshal.c writes what Python loads, scan.c is the program. Rules: libc only, every read within the
 * buffer and its padding, and whatever is not plainly right is left to Python.
 */
#ifndef WATCHKEEPER_SCAN_H
#define WATCHKEEPER_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SCAN_FORMAT "wkscan1\n"
#define SCAN_PADDING 64u /* bytes behind the data that may be read, never judged */
#ifndef SCAN_BLOCK
#define SCAN_BLOCK ((size_t)64 << 20)
#endif
#define SCAN_THREADS 8
#define ARENA_BYTES 65536u
#define DEPTH_LIMIT 64u
#define SESSION_LIMIT 1000u
#define TEXT_LIMIT 32768u
#define LARGEST_NUMBER ((int64_t)1 << 53)
#define UNKNOWN_TIME ((int64_t)1 << 62)

/* Tells whether so many bytes are the same; the C library's way goes byte by byte where it is static. */
static inline bool same_bytes(const void *one, const void *other, size_t length) {
    const uint8_t *mine = one, *theirs = other;
    uint64_t word, their_word;
    for (; length >= sizeof word; mine += sizeof word, theirs += sizeof word, length -= sizeof word) {
        memcpy(&word, mine, sizeof word);
        memcpy(&their_word, theirs, sizeof word);
        if (word != their_word) {
            return false;
        }
    }
    for (; length > 0; length--) {
        if (*mine++ != *theirs++) {
            return false;
        }
    }
    return true;
}

/* A string of a line, decoded; `at` is NULL where there is none. */
struct text {
    const uint8_t *at;
    size_t length;
};

enum { COUNT_INPUT, COUNT_OUTPUT, COUNT_WRITE, COUNT_WRITE_5M, COUNT_WRITE_1H, COUNT_READ, COUNT_SEARCHES, COUNTS };

/* Numbers are -1 where there are none. */
struct created {
    bool present;
    int64_t five, hour;
};

struct tools {
    bool present;
    int64_t searches;
};

struct usage {
    bool present;
    int64_t input, output, write, read;
    struct created created;
    struct tools tools;
    struct text tier, speed, region;
};

struct message {
    bool present;
    struct text id, model, role, stop_reason;
    struct usage usage;
};

struct fork {
    bool present;
    struct text session;
};

/* What a line says that may hold an answer: the line itself, or one inside a progress line. */
struct saying {
    bool present;
    struct text type, timestamp, request, uuid, branch, skill, server;
    struct message message;
    int64_t cost; /* micro-dollars */
};

struct progress {
    bool present;
    struct text type, agent;
    struct saying line;
};

enum flag { FLAG_ABSENT, FLAG_FALSE, FLAG_TRUE };

struct line {
    struct saying said;
    struct text session, agent, cwd, asker;
    uint8_t sidechain; /* enum flag */
    struct fork fork;
    struct progress data;
};

struct arena {
    size_t used;
    uint8_t bytes[ARENA_BYTES];
};

/* scan_search.c: all may read SCAN_PADDING bytes beyond `end`. */
const uint8_t *search(const uint8_t *at, const uint8_t *end, const char *needle, size_t length);
const uint8_t *search_back(const uint8_t *start, const uint8_t *end, const char *needle, size_t length);
const uint8_t *line_start(const uint8_t *start, const uint8_t *at);
const uint8_t *plain_end(const uint8_t *at); /* the next quote, backslash or control character; there must be one */

/* scan_json.c: reads the line that begins at `at`; returns its line feed, or NULL for a line to leave alone. */
const uint8_t *line_read(const uint8_t *at, struct line *line, struct arena *arena);
bool time_read(const struct text *text, int64_t *at); /* false: not in today's form */

/* scan_strings.c: strings by number, each once; 0 is none. */
struct string {
    size_t offset;
    uint32_t length, hash;
    uint32_t reference;              /* its place among what was written, plus one */
    uint32_t request, request_mark;  /* its request in the file that bears the mark */
    bool ascii;
};

struct strings {
    uint8_t *bytes;
    struct string *all;
    uint32_t *slots;
    size_t used, room;
    uint32_t count, most, mask;
};

uint32_t strings_number(struct strings *strings, const struct text *text);
void strings_free(struct strings *strings);
void *grown(void *memory, size_t count, size_t size); /* realloc that ends the program where there is no memory */

/* scan_facts.c */
enum { SAID_SESSION, SAID_AGENT, SAID_MODEL, SAID_TIER, SAID_SPEED, SAID_REGION, SAID_BRANCH, SAID_SKILL, SAID_SERVER, SAID };
enum { MARK_SIDECHAIN, MARK_NESTED, MARK_REPLAY, MARK_SYNTHETIC, MARK_ENDED, MARKS };

struct request {
    uint32_t key, claimant, said[SAID];
    int64_t rank, at, last_at, counts[COUNTS + 1]; /* the last is what the client reported, in micro-dollars */
    uint8_t marks[MARKS];
};

struct session {
    uint32_t name, cwd;
    int64_t rank, at, last;
};

struct facts {
    struct strings strings;
    struct request *requests;
    struct session *sessions;
    struct arena arenas[2];
    struct line lines[2]; /* of two, one holds the answer that was last seen */
    size_t request_count, request_room, session_count, session_room;
    uint32_t file_mark; /* never 0, so that a fresh string belongs to no file */
    struct text session_hint, agent_hint;
};

void facts_begin(struct facts *facts, const struct text *session_hint, const struct text *agent_hint);
bool facts_take(struct facts *facts, const uint8_t *data, size_t length); /* whole lines; false: leave the file alone */
void facts_free(struct facts *facts);

/* scan_marshal.c */
struct output {
    uint8_t *bytes;
    size_t used, room;
    uint32_t references;
};

void output_bytes(struct output *output, const void *bytes, size_t length);
void output_list(struct output *output, uint32_t count);
void output_number(struct output *output, int64_t number);
void output_none(struct output *output);
void output_facts(struct output *output, struct facts *facts); /* two dictionaries: requests and sessions */

#endif
