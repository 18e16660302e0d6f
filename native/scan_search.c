/* Finding bytes, sixteen at a time where the processor has SSE2. */
#include "scan.h"

#include <string.h>

#if defined(__SSE2__) && !defined(SCAN_PLAIN)
#include <emmintrin.h>

static __m128i load(const uint8_t *at) {
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

static unsigned hits(__m128i equal) {
    return (unsigned)_mm_movemask_epi8(equal);
}

const uint8_t *search(const uint8_t *at, const uint8_t *end, const char *needle, size_t length) {
    const __m128i first = _mm_set1_epi8(needle[0]), second = _mm_set1_epi8(needle[1]);
    const __m128i last = _mm_set1_epi8(needle[length - 1]);
    for (; at < end; at += 16) {
        __m128i ends = _mm_and_si128(_mm_cmpeq_epi8(load(at), first), _mm_cmpeq_epi8(load(at + length - 1), last));
        unsigned found = hits(_mm_and_si128(ends, _mm_cmpeq_epi8(load(at + 1), second)));
        for (; found != 0; found &= found - 1) {
            const uint8_t *place = at + __builtin_ctz(found);
            if ((size_t)(end - at) < (size_t)(place - at) + length) {
                return NULL;
            }
            if (same_bytes(place, needle, length)) {
                return place;
            }
        }
    }
    return NULL;
}

const uint8_t *plain_end(const uint8_t *at) {
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1F);
    for (;; at += 16) {
        __m128i bytes = load(at);
        __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
        unsigned found = hits(_mm_or_si128(ends, _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes)));
        if (found != 0) {
            return at + __builtin_ctz(found);
        }
    }
}

const uint8_t *line_start(const uint8_t *start, const uint8_t *at) {
    const __m128i feed = _mm_set1_epi8('\n');
    for (; at - start >= 16; at -= 16) {
        unsigned found = hits(_mm_cmpeq_epi8(load(at - 16), feed));
        if (found != 0) {
            return at - 16 + (32 - __builtin_clz(found));
        }
    }
    while (at > start && at[-1] != '\n') {
        at--;
    }
    return at;
}
#else
const uint8_t *search(const uint8_t *at, const uint8_t *end, const char *needle, size_t length) {
    while ((size_t)(end - at) >= length) {
        at = memchr(at, needle[0], (size_t)(end - at) - length + 1);
        if (at == NULL || same_bytes(at, needle, length)) {
            return at;
        }
        at++;
    }
    return NULL;
}

const uint8_t *plain_end(const uint8_t *at) {
    while (*at != '"' && *at != '\\' && *at >= 0x20) {
        at++;
    }
    return at;
}

const uint8_t *line_start(const uint8_t *start, const uint8_t *at) {
    while (at > start && at[-1] != '\n') {
        at--;
    }
    return at;
}
#endif

const uint8_t *search_back(const uint8_t *start, const uint8_t *end, const char *needle, size_t length) {
    if ((size_t)(end - start) < length) {
        return NULL;
    }
    for (const uint8_t *at = end - length;; at--) {
        if (at[1] == (uint8_t)needle[1] && same_bytes(at, needle, length)) {
            return at;
        }
        if (at == start) {
            return NULL;
        }
    }
}
