/* Strings by number: each is kept once, compared as a number, and written once. */
#include "scan.h"

#include <stdlib.h>
#include <string.h>

void *grown(void *memory, size_t count, size_t size) {
    void *made = count > SIZE_MAX / size ? NULL : realloc(memory, count * size);
    if (made == NULL) {
        exit(3); /* Python reads the files itself then */
    }
    return made;
}

static uint32_t hash_of(const uint8_t *at, size_t length) {
    uint64_t hash = length, word;
    for (; length >= sizeof word; at += sizeof word, length -= sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    word = 0;
    if (length > 0) {
        memcpy(&word, at, length);
    }
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(hash >> 32);
}

static bool is_ascii(const uint8_t *at, size_t length) {
    uint8_t any = 0;
    for (size_t i = 0; i < length; i++) {
        any |= at[i];
    }
    return any < 0x80;
}

static void more_slots(struct strings *strings) {
    uint32_t size = strings->mask == 0 ? 1u << 12 : (strings->mask + 1) * 2;
    free(strings->slots);
    strings->slots = grown(NULL, size, sizeof *strings->slots);
    memset(strings->slots, 0, size * sizeof *strings->slots);
    strings->mask = size - 1;
    for (uint32_t number = 1; number <= strings->count; number++) {
        uint32_t slot = strings->all[number].hash & strings->mask;
        while (strings->slots[slot] != 0) {
            slot = (slot + 1) & strings->mask;
        }
        strings->slots[slot] = number;
    }
}

static uint32_t add(struct strings *strings, const struct text *text, uint32_t hash) {
    if (strings->count == UINT32_MAX >> 2) {
        exit(3);
    }
    if (strings->count + 1 >= strings->most) {
        strings->most = strings->most == 0 ? 1u << 12 : strings->most * 2;
        strings->all = grown(strings->all, strings->most, sizeof *strings->all);
    }
    if (text->length > strings->room - strings->used) {
        strings->room = strings->room * 2 + text->length + (1u << 16);
        strings->bytes = grown(strings->bytes, strings->room, 1);
    }
    if (text->length > 0) {
        memcpy(strings->bytes + strings->used, text->at, text->length);
    }
    struct string made = {.offset = strings->used, .length = (uint32_t)text->length, .hash = hash};
    made.ascii = is_ascii(text->at, text->length);
    strings->used += text->length;
    strings->all[++strings->count] = made;
    return strings->count;
}

uint32_t strings_number(struct strings *strings, const struct text *text) {
    if (text->at == NULL) {
        return 0;
    }
    if (strings->count >= strings->mask / 2) {
        more_slots(strings);
    }
    uint32_t hash = hash_of(text->at, text->length);
    uint32_t slot = hash & strings->mask;
    for (; strings->slots[slot] != 0; slot = (slot + 1) & strings->mask) {
        const struct string *known = &strings->all[strings->slots[slot]];
        if (known->hash == hash && known->length == text->length
            && same_bytes(strings->bytes + known->offset, text->at, text->length)) {
            return strings->slots[slot];
        }
    }
    return strings->slots[slot] = add(strings, text, hash);
}

void strings_free(struct strings *strings) {
    free(strings->bytes);
    free(strings->all);
    free(strings->slots);
}
