/* Watchkeeper's hook: the wire format (schemas/wire.v1) and what its four files share.
 *
 * wire.c builds and parses bytes, spool.c appends frames, decide.c asks the decider, watchkeeper_hook.c is the program.
 * Rules of these files: libc only, no allocation, no threads, nothing on standard error, every wait has a bound
 * (except for the end of standard input, which is the client's to give).
 */
#ifndef WATCHKEEPER_HOOK_H
#define WATCHKEEPER_HOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SEGMENT_HEADER_BYTES 32u
#define SEGMENT_ID_BYTES 16u
#define FRAME_HEADER_BYTES 72u
#define ENVIRONMENT_LIMIT 16384u
#define PAYLOAD_BUFFER_BYTES (1u << 20)
#define PAYLOAD_LIMIT (256u << 20)
#define SEGMENT_LIMIT (64u << 20)
#define REQUEST_HEADER_BYTES 16u
#define ANSWER_HEADER_BYTES 12u
#define ANSWER_LIMIT (1u << 20)
#define SOURCE_BYTES 64u

#define FRAME_MAGIC 0x31464B57u   /* "WKF1" as it lies in the file */
#define REQUEST_MAGIC 0x31444B57u /* "WKD1" */
#define ANSWER_MAGIC 0x31414B57u  /* "WKA1" */
#define WIRE_VERSION 1u

enum frame_kind { KIND_EVENT = 1, KIND_DECISION = 2, KIND_SYNTHETIC = 3 };
enum frame_flag { FLAG_TRUNCATED = 1, FLAG_ASKED = 2 };

enum verdict {
    VERDICT_NONE,
    VERDICT_ALLOW,
    VERDICT_ASK,
    VERDICT_DENY,
    VERDICT_REWRITE,
    VERDICT_UNREACHABLE, /* from here on: the hook's own, never on the wire of an answer */
    VERDICT_TIMEOUT,
    VERDICT_MALFORMED
};

/* Who and when: the fixed fields of a frame. */
struct stamp {
    uint64_t wall_ns;
    uint64_t monotonic_ns;
    uint8_t boot_id[16];
    uint32_t uid, pid, parent;
};

/* A frame that is ready to be written. Its payload lies in memory, or from `stream_offset` on in the file `stream`. */
struct frame {
    uint8_t head[FRAME_HEADER_BYTES + ENVIRONMENT_LIMIT];
    size_t head_length;
    const uint8_t *payload;
    size_t payload_length;
    int stream;
    off_t stream_offset;
};

/* Where a frame lies, which is its identity. */
struct position {
    uint8_t segment[SEGMENT_ID_BYTES];
    uint64_t offset;
    bool known;
};

struct spool {
    int directory; /* -1: there is nowhere to write */
    int current;
    uid_t uid;
    bool shared; /* the folder's group reads and removes what is in it */
};

struct decision {
    enum verdict verdict;
    int exit_code;
    const uint8_t *output;
    size_t output_length;
    uint32_t latency_us;
};

/* wire.c */
void put_u32(uint8_t *to, uint32_t value);
void put_u64(uint8_t *to, uint64_t value);
uint32_t get_u32(const uint8_t *from);
uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, size_t length);
void hex_encode(char *to, const uint8_t *bytes, size_t length);
size_t decimal_encode(char *to, uint64_t value);
bool uuid_parse(uint8_t id[16], const char *text, size_t length);
size_t environment_block(uint8_t *to, size_t room, char *const *environment);
void frame_begin(struct frame *frame, const struct stamp *stamp, uint8_t kind, uint16_t flags,
                 char *const *environment);
void frame_lengths(struct frame *frame, uint16_t flags, size_t payload_length);
void frame_finish(struct frame *frame);
bool answer_parse(const uint8_t header[ANSWER_HEADER_BYTES], struct decision *decision);
size_t source_encode(char to[SOURCE_BYTES], const struct position *position);
size_t decision_encode(char *to, const struct position *of, const struct decision *decision);

/* spool.c */
uint64_t clock_ns(bool wall);
void pause_us(uint32_t microseconds);
size_t input_read(int input, uint8_t *to, size_t room);
void spool_open(struct spool *spool, const char *home, uid_t uid);
bool spool_append(struct spool *spool, const struct frame *frame, struct position *position);
bool spool_stream(struct spool *spool, struct frame *frame, uint16_t flags, struct position *position, int input);
void doorbell_ring(const char *home);

/* decide.c */
int unix_socket(int type);
bool unix_address(const char *home, const char *name, void *address, uint32_t *length);
void decider_ask(const char *home, const struct frame *frame, uint32_t deadline_ms, struct decision *decision);

#endif
