/* Writes what Python's marshal.loads reads (version 3: strings said once, then by reference). */
#include "scan.h"

#include <stdlib.h>
#include <string.h>

#define FLAG_REFERENCE 0x80
#define DIGIT_BITS 15

static uint8_t *room_for(struct output *output, size_t length) {
    if (length > output->room - output->used) {
        output->room = output->room * 2 + length + (1u << 16);
        output->bytes = grown(output->bytes, output->room, 1);
    }
    uint8_t *place = output->bytes + output->used;
    output->used += length;
    return place;
}

static void put32(uint8_t *place, uint32_t number) {
    for (int i = 0; i < 4; i++) {
        place[i] = (uint8_t)(number >> 8 * i & 0xFF);
    }
}

static void tagged(struct output *output, int tag, uint32_t number) {
    uint8_t *place = room_for(output, 5);
    place[0] = (uint8_t)tag;
    put32(place + 1, number);
}

void output_bytes(struct output *output, const void *bytes, size_t length) {
    if (length > 0) {
        memcpy(room_for(output, length), bytes, length);
    }
}

void output_list(struct output *output, uint32_t count) {
    tagged(output, '[', count);
}

void output_none(struct output *output) {
    *room_for(output, 1) = 'N';
}

/* Numbers are never negative here. */
void output_number(struct output *output, int64_t number) {
    if (number <= INT32_MAX) {
        tagged(output, 'i', (uint32_t)number);
        return;
    }
    uint32_t digits = 0;
    for (int64_t rest = number; rest > 0; rest >>= DIGIT_BITS) {
        digits++;
    }
    tagged(output, 'l', digits);
    for (; number > 0; number >>= DIGIT_BITS) {
        uint8_t *place = room_for(output, 2);
        place[0] = (uint8_t)(number & 0xFF);
        place[1] = (uint8_t)(number >> 8 & 0x7F);
    }
}

static void output_count(struct output *output, int64_t count) {
    if (count < 0) {
        output_none(output);
    } else {
        output_number(output, count);
    }
}

static void output_string(struct output *output, struct strings *strings, uint32_t number) {
    struct string *string = &strings->all[number];
    if (number == 0) {
        output_none(output);
    } else if (string->reference != 0) {
        tagged(output, 'r', string->reference - 1);
    } else {
        if (string->ascii && string->length < 256) {
            uint8_t *place = room_for(output, 2);
            place[0] = 'z' | FLAG_REFERENCE;
            place[1] = (uint8_t)string->length;
        } else {
            tagged(output, (string->ascii ? 'a' : 'u') | FLAG_REFERENCE, string->length);
        }
        output_bytes(output, strings->bytes + string->offset, string->length);
        string->reference = ++output->references;
    }
}

static void output_request(struct output *output, struct strings *strings, const struct request *request) {
    output_string(output, strings, request->key);
    output_list(output, 2 + SAID + 2 + COUNTS + 1 + MARKS);
    output_number(output, request->rank);
    output_number(output, request->at);
    for (int i = 0; i < SAID; i++) {
        output_string(output, strings, request->said[i]);
    }
    output_string(output, strings, request->claimant);
    output_number(output, request->last_at);
    for (int i = 0; i <= COUNTS; i++) {
        output_count(output, request->counts[i]);
    }
    for (int i = 0; i < MARKS; i++) {
        output_number(output, request->marks[i]);
    }
}

void output_facts(struct output *output, struct facts *facts) {
    struct strings *strings = &facts->strings;
    *room_for(output, 1) = '{';
    for (size_t i = 0; i < facts->request_count; i++) {
        output_request(output, strings, &facts->requests[i]);
    }
    *room_for(output, 1) = '0';
    *room_for(output, 1) = '{';
    for (size_t i = 0; i < facts->session_count; i++) {
        const struct session *session = &facts->sessions[i];
        output_string(output, strings, session->name);
        output_list(output, 4);
        output_number(output, session->rank);
        output_number(output, session->at);
        output_string(output, strings, session->cwd);
        output_number(output, session->last);
    }
    *room_for(output, 1) = '0';
}
