/* Fuzz target for the parsers of wire.c. With libFuzzer: clang -fsanitize=fuzzer,address fuzz_wire.c wire.c.
 * Without it (-DFUZZ_ROUNDS=N) it is a program that mutates the files given to it, always in the same order.
 */
#include "hook.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static void require(bool holds) {
    if (!holds) {
        abort();
    }
}

static void try_answer(const uint8_t *data, size_t length) {
    struct decision decision = {VERDICT_NONE, 0, NULL, 0, 0};
    if (length >= ANSWER_HEADER_BYTES && answer_parse(data, &decision)) {
        require(decision.verdict <= VERDICT_REWRITE && decision.output_length <= ANSWER_LIMIT);
        require(decision.exit_code == 0 || (decision.exit_code == 2 && decision.verdict != VERDICT_NONE));
    }
}

/* Takes the data for the environment of a process: entries that end in NUL. */
static void try_frame(const uint8_t *data, size_t length) {
    static struct frame frame;
    static char text[1u << 16];
    static char *entries[1024];
    size_t count = 0, at = 0;
    struct stamp stamp = {1, 2, {0}, 3, 4, 5};
    length = length < sizeof text - 1 ? length : sizeof text - 1;
    memcpy(text, data, length);
    text[length] = '\0';
    while (at < length && count < 1023) {
        entries[count++] = text + at;
        at += strlen(text + at) + 1;
    }
    entries[count] = NULL;
    frame_begin(&frame, &stamp, KIND_EVENT, 0, entries);
    frame.payload = data;
    frame_lengths(&frame, 0, length);
    frame_finish(&frame);
    require(frame.head_length >= FRAME_HEADER_BYTES && frame.head_length <= sizeof frame.head);
    require(get_u32(frame.head + 8) == frame.head_length + length);
    uint32_t crc = crc32_update(0, frame.head + 16, frame.head_length - 16);
    for (size_t i = 0; i < length; i++) {
        crc = crc32_update(crc, data + i, 1); /* byte by byte it must come to the same */
    }
    require(crc == get_u32(frame.head + 12));
}

static void try_decision(const uint8_t *data, size_t length) {
    char text[160];
    struct position position = {{0}, UINT64_MAX, true};
    struct decision decision = {VERDICT_UNREACHABLE, 0, NULL, 0, UINT32_MAX};
    memcpy(position.segment, data, length < SEGMENT_ID_BYTES ? length : SEGMENT_ID_BYTES);
    require(decision_encode(text, &position, &decision) <= sizeof text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    uint8_t id[16];
    try_answer(data, length);
    try_frame(data, length);
    try_decision(data, length);
    (void)uuid_parse(id, (const char *)data, length);
    return 0;
}

#ifdef FUZZ_ROUNDS
#include <stdio.h>

static uint32_t seed = 0x2545F491u;

static uint32_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static void mutate(const uint8_t *original, size_t length) {
    size_t kept = next_random() % 4 == 0 ? next_random() % (length + 1) : length;
    uint8_t *copy = malloc(kept > 0 ? kept : 1); /* its exact size, so that a read beyond it is noticed */
    require(copy != NULL);
    memcpy(copy, original, kept);
    for (uint32_t changes = next_random() % 8; changes > 0 && kept > 0; changes--) {
        copy[next_random() % kept] = (uint8_t)(next_random() & 0xFFu);
    }
    LLVMFuzzerTestOneInput(copy, kept);
    free(copy);
}

int main(int count, char **files) {
    static uint8_t data[1u << 16];
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(files[i], "rb");
        require(file != NULL);
        size_t length = fread(data, 1, sizeof data, file);
        (void)fclose(file);
        for (int round = 0; round < FUZZ_ROUNDS; round++) {
            mutate(data, length);
        }
    }
    return 0;
}
#endif
