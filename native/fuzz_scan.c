/* Fuzz target for the scanner's reading of lines. With libFuzzer: clang -fsanitize=fuzzer,address fuzz_scan.c and
 * every scan_*.c. Without it (-DFUZZ_ROUNDS=N) it is a program that mutates the files given to it, always in the same
 * order.
 */
#include "scan.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static void require(bool holds) {
    if (!holds) {
        abort();
    }
}

static void check(const struct facts *facts) {
    for (size_t i = 0; i < facts->request_count; i++) {
        const struct request *request = &facts->requests[i];
        require(request->key > 0 && request->key <= facts->strings.count);
        require(request->rank >= 10 && request->rank <= 17 && request->at <= UNKNOWN_TIME);
        for (int count = 0; count <= COUNTS; count++) {
            require(request->counts[count] >= -1 && request->counts[count] <= LARGEST_NUMBER);
        }
    }
    for (size_t i = 0; i < facts->session_count; i++) {
        require(facts->sessions[i].name > 0 && facts->sessions[i].last < UNKNOWN_TIME);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    struct facts *facts = grown(NULL, 1, sizeof *facts);
    struct output output = {NULL, 0, 0, 0};
    uint8_t *copy = grown(NULL, length + 1 + SCAN_PADDING, 1);
    const struct text session = {(const uint8_t *)"hint", 4}, agent = {NULL, 0};
    memset(facts, 0, sizeof *facts);
    memset(copy + length, 0, 1 + SCAN_PADDING);
    if (length > 0) {
        memcpy(copy, data, length);
    }
    copy[length] = '\n';
    for (int time = 0; time < 2; time++) { /* the second file finds the strings of the first */
        facts_begin(facts, &session, &agent);
        if (facts_take(facts, copy, length + 1)) {
            check(facts);
            output_facts(&output, facts);
            require(output.used > 0 && output.bytes[output.used - 1] == '0');
        }
    }
    facts_free(facts);
    free(facts);
    free(copy);
    free(output.bytes);
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
    static const char marks[] = "\"\\{}[]:,\n0eE.-+utn ";
    size_t kept = next_random() % 4 == 0 ? next_random() % (length + 1) : length;
    uint8_t *copy = malloc(kept > 0 ? kept : 1);
    require(copy != NULL);
    memcpy(copy, original, kept);
    for (uint32_t changes = next_random() % 4; changes > 0 && kept > 0; changes--) {
        uint32_t byte = next_random();
        copy[next_random() % kept] = (uint8_t)(byte % 2 == 0 ? marks[byte / 2 % (sizeof marks - 1)] : byte >> 1 & 0xFF);
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
