/* Bytes of the wire format: little-endian fields, checksum, frame heads, answers. No system calls. */
#include "hook.h"

#include <string.h>

/* Only these reach a frame: what identifies a run, and nothing that may hold a secret. */
static const char *const ENVIRONMENT_NAMES[] = {
    "CLAUDE_RUN_ID",     "USER_NAME",   "USER_EMAIL",    "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_PID",
    "CLAUDE_PROJECT_DIR", "CLAUDE_CODE_SESSION_ID", "USER", "LOGNAME", "HOSTNAME", "ZO_PROJECT_ID",
    "CLAUDE_CODE_REMOTE",
};

static const char *const VERDICT_NAMES[] = {
    "none", "allow", "ask", "deny", "rewrite", "unreachable", "timeout", "malformed",
};

static void put_u16(uint8_t *to, uint16_t value) {
    to[0] = (uint8_t)(value & 0xFFu);
    to[1] = (uint8_t)(value >> 8);
}

void put_u32(uint8_t *to, uint32_t value) {
    for (unsigned i = 0; i < 4; i++) {
        to[i] = (uint8_t)((value >> (8 * i)) & 0xFFu);
    }
}

void put_u64(uint8_t *to, uint64_t value) {
    put_u32(to, (uint32_t)(value & 0xFFFFFFFFu));
    put_u32(to + 4, (uint32_t)(value >> 32));
}

uint32_t get_u32(const uint8_t *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* Eight tables take eight bytes a step; building them costs 2 us, an 8 KB payload byte by byte would cost 20. */
static uint32_t crc_table[8][256];

static void crc32_prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) {
            value = (value >> 1) ^ (0xEDB88320u & (0u - (value & 1u)));
        }
        crc_table[0][i] = value;
    }
    for (int t = 1; t < 8; t++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t before = crc_table[t - 1][i];
            crc_table[t][i] = (before >> 8) ^ crc_table[0][before & 0xFFu];
        }
    }
}

/* CRC-32/IEEE as in zlib: start with 0 and feed the result back in. */
uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, size_t length) {
    if (crc_table[0][1] == 0) {
        crc32_prepare();
    }
    crc = ~crc;
    for (; length >= 8; length -= 8, bytes += 8) {
        uint32_t low = get_u32(bytes) ^ crc;
        uint32_t high = get_u32(bytes + 4);
        crc = crc_table[7][low & 0xFFu] ^ crc_table[6][(low >> 8) & 0xFFu] ^ crc_table[5][(low >> 16) & 0xFFu] ^
              crc_table[4][low >> 24] ^ crc_table[3][high & 0xFFu] ^ crc_table[2][(high >> 8) & 0xFFu] ^
              crc_table[1][(high >> 16) & 0xFFu] ^ crc_table[0][high >> 24];
    }
    for (; length > 0; length--, bytes++) {
        crc = (crc >> 8) ^ crc_table[0][(crc ^ *bytes) & 0xFFu];
    }
    return ~crc;
}

void hex_encode(char *to, const uint8_t *bytes, size_t length) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        to[2 * i] = digits[bytes[i] >> 4];
        to[2 * i + 1] = digits[bytes[i] & 15u];
    }
}

/* Writes 1 to 20 digits and returns how many. */
size_t decimal_encode(char *to, uint64_t value) {
    char reversed[20];
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < count; i++) {
        to[i] = reversed[count - 1 - i];
    }
    return count;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads the first 32 hexadecimal digits, dashes between them allowed; all zero when they are not there. */
bool uuid_parse(uint8_t id[16], const char *text, size_t length) {
    size_t digits = 0;
    memset(id, 0, 16);
    for (size_t i = 0; i < length && digits < 32; i++) {
        int digit = hex_digit(text[i]);
        if (text[i] == '-') {
            continue;
        }
        if (digit < 0) {
            break;
        }
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | digit);
        digits++;
    }
    if (digits < 32) {
        memset(id, 0, 16);
    }
    return digits == 32;
}

static bool environment_allowed(const char *entry) {
    for (size_t i = 0; i < sizeof ENVIRONMENT_NAMES / sizeof *ENVIRONMENT_NAMES; i++) {
        size_t length = strlen(ENVIRONMENT_NAMES[i]);
        if (strncmp(entry, ENVIRONMENT_NAMES[i], length) == 0 && entry[length] == '=') {
            return true;
        }
    }
    return false;
}

/* Writes the allowed NAME=value entries, each with its NUL, and returns their length; one that does not fit is left
 * out whole. */
size_t environment_block(uint8_t *to, size_t room, char *const *environment) {
    size_t used = 0;
    for (; environment != NULL && *environment != NULL; environment++) {
        if (!environment_allowed(*environment)) {
            continue;
        }
        size_t length = strlen(*environment) + 1;
        if (length <= room - used) {
            memcpy(to + used, *environment, length);
            used += length;
        }
    }
    return used;
}

/* Fills everything but lengths and checksum. */
void frame_begin(struct frame *frame, const struct stamp *stamp, uint8_t kind, uint16_t flags,
                 char *const *environment) {
    uint8_t *head = frame->head;
    size_t length = environment_block(head + FRAME_HEADER_BYTES, ENVIRONMENT_LIMIT, environment);
    memset(head, 0, FRAME_HEADER_BYTES);
    put_u32(head, FRAME_MAGIC);
    head[4] = WIRE_VERSION;
    head[5] = kind;
    put_u16(head + 6, flags);
    put_u64(head + 16, stamp->wall_ns);
    put_u64(head + 24, stamp->monotonic_ns);
    memcpy(head + 32, stamp->boot_id, 16);
    put_u32(head + 48, stamp->uid);
    put_u32(head + 52, stamp->pid);
    put_u32(head + 56, stamp->parent);
    put_u32(head + 60, (uint32_t)length);
    frame->head_length = FRAME_HEADER_BYTES + length;
    frame->payload = NULL;
    frame->payload_length = 0;
    frame->stream = -1;
    frame->stream_offset = 0;
}

void frame_lengths(struct frame *frame, uint16_t flags, size_t payload_length) {
    frame->payload_length = payload_length;
    put_u16(frame->head + 6, flags);
    put_u32(frame->head + 8, (uint32_t)(frame->head_length + payload_length));
    put_u32(frame->head + 64, (uint32_t)payload_length);
}

/* Seals a frame whose payload lies in memory with its checksum. */
void frame_finish(struct frame *frame) {
    uint32_t crc = crc32_update(0, frame->head + 16, frame->head_length - 16);
    put_u32(frame->head + 12, crc32_update(crc, frame->payload, frame->payload_length));
}

/* Checks an answer's header; true leaves verdict, exit code and output length in `decision`. */
bool answer_parse(const uint8_t header[ANSWER_HEADER_BYTES], struct decision *decision) {
    uint32_t length = get_u32(header + 8);
    if (get_u32(header) != ANSWER_MAGIC || header[4] != WIRE_VERSION || header[5] > VERDICT_REWRITE ||
        (header[6] != 0 && header[6] != 2) || length > ANSWER_LIMIT) {
        return false;
    }
    decision->verdict = (enum verdict)header[5];
    decision->exit_code = decision->verdict == VERDICT_NONE ? 0 : header[6];
    decision->output_length = length;
    return true;
}

static size_t text_put(char *to, const char *text) {
    size_t length = strlen(text);
    memcpy(to, text, length);
    return length;
}

/* "spool:<segment>:<offset>", or nothing for a frame that could not be stored. */
size_t source_encode(char to[SOURCE_BYTES], const struct position *position) {
    if (!position->known) {
        return 0;
    }
    size_t used = text_put(to, "spool:");
    hex_encode(to + used, position->segment, SEGMENT_ID_BYTES);
    used += (size_t)2 * SEGMENT_ID_BYTES;
    to[used++] = ':';
    return used + decimal_encode(to + used, position->offset);
}

/* The payload of a decision frame, at most 160 bytes of JSON. */
size_t decision_encode(char *to, const struct position *of, const struct decision *decision) {
    size_t used = text_put(to, "{\"of\":\"");
    used += source_encode(to + used, of);
    used += text_put(to + used, "\",\"verdict\":\"");
    used += text_put(to + used, VERDICT_NAMES[decision->verdict]);
    used += text_put(to + used, "\",\"latency_us\":");
    used += decimal_encode(to + used, decision->latency_us);
    to[used++] = '}';
    return used;
}
