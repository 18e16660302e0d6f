/* Appending frames to the spool, so that nothing is lost when the reader seals and removes segments at any moment. */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

#define LOCK_WAIT_NS 2000000u         /* then a private segment: the agent never waits */
#define PRIVATE_LOCK_WAIT_NS 20000000u /* only a reader's glance can hold a private segment */
#define ATTEMPTS 8
#define PRIVATE_NAME_BYTES 64u

uint64_t clock_ns(bool wall) {
    struct timespec now = {0, 0};
    (void)clock_gettime(wall ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void pause_us(uint32_t microseconds) {
    struct timespec time = {0, (long)microseconds * 1000};
    (void)nanosleep(&time, NULL);
}

static bool owned_safely(const struct stat *status, uid_t uid) {
    return status->st_uid == uid && (status->st_mode & 022u) == 0;
}

static int directory_open(int at, const char *name, struct stat *status) {
    int directory = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory >= 0 && fstat(directory, status) != 0) {
        (void)close(directory);
        return -1;
    }
    return directory;
}

/* HOME/spool when it is ours; HOME/spool/<uid> when an administrator owns HOME/spool; else nowhere.
 *
 * The administrator's daemon reads and removes segments as the group of HOME/spool, so that group, and no other, may
 * write to HOME/spool/<uid>: only who owns HOME/spool can have put it there. */
void spool_open(struct spool *spool, const char *home, uid_t uid) {
    char path[4096];
    struct stat status;
    size_t length = strlen(home);
    spool->directory = spool->current = -1;
    spool->uid = uid;
    spool->shared = false;
    if (length == 0 || length > sizeof path - 8) {
        return;
    }
    memcpy(path, home, length);
    memcpy(path + length, "/spool", 7);
    int directory = directory_open(AT_FDCWD, path, &status);
    if (directory < 0) {
        return;
    }
    if (status.st_uid != uid && (status.st_mode & 022u) == 0) {
        char name[24];
        gid_t reader = status.st_gid;
        name[decimal_encode(name, uid)] = '\0';
        int own = directory_open(directory, name, &status);
        (void)close(directory);
        directory = own;
        if (directory >= 0 && status.st_gid == reader && (status.st_mode & S_IWGRP) != 0) {
            spool->shared = true;
            status.st_mode &= ~(mode_t)S_IWGRP;
        }
    }
    if (directory >= 0 && owned_safely(&status, uid)) {
        spool->directory = directory;
    } else if (directory >= 0) {
        (void)close(directory);
    }
}

static bool lock_until(int file, uint64_t deadline) {
    while (flock(file, LOCK_EX | LOCK_NB) != 0) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || clock_ns(false) >= deadline) {
            return false;
        }
        pause_us(50);
    }
    return true;
}

/* A file that lost its name or its write bit while we waited for the lock is the reader's, not ours. */
static bool still_open(const struct stat *status) {
    return status->st_nlink > 0 && (status->st_mode & S_IWUSR) != 0;
}

static bool segment_header(uint8_t header[SEGMENT_HEADER_BYTES]) {
    memcpy(header, "WKSPOOL1", 8);
    put_u64(header + 8, clock_ns(true));
    return getentropy(header + 16, SEGMENT_ID_BYTES) == 0;
}

/* One write of everything, or none of it: a short write is taken back while we hold the lock. */
static bool write_whole(int file, const uint8_t *header, const struct frame *frame, off_t size) {
    struct iovec parts[3];
    int count = 0;
    size_t total = frame->head_length + frame->payload_length;
    if (header != NULL) {
        parts[count++] = (struct iovec){(void *)(uintptr_t)header, SEGMENT_HEADER_BYTES};
        total += SEGMENT_HEADER_BYTES;
    }
    parts[count++] = (struct iovec){(void *)(uintptr_t)frame->head, frame->head_length};
    if (frame->payload_length > 0) {
        parts[count++] = (struct iovec){(void *)(uintptr_t)frame->payload, frame->payload_length};
    }
    ssize_t written;
    do {
        written = writev(file, parts, count);
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)total) {
        return true;
    }
    if (written > 0) {
        (void)!ftruncate(file, size);
    }
    return false;
}

static void current_close(struct spool *spool) {
    if (spool->current >= 0) {
        (void)close(spool->current); /* releases the lock with it */
        spool->current = -1;
    }
}

/* Writes a locked, checked segment of `size` bytes, and says where the frame is. */
static bool current_write(struct spool *spool, const struct frame *frame, off_t size, struct position *position) {
    uint8_t header[SEGMENT_HEADER_BYTES];
    bool fresh = size < (off_t)SEGMENT_HEADER_BYTES;
    if (fresh) {
        /* A writer died within its header: no frame can be in there. */
        if ((size > 0 && ftruncate(spool->current, 0) != 0) || !segment_header(header)) {
            return false;
        }
        size = 0;
    } else if (pread(spool->current, header, sizeof header, 0) != (ssize_t)sizeof header) {
        return false;
    }
    if (!write_whole(spool->current, fresh ? header : NULL, frame, size)) {
        return false;
    }
    memcpy(position->segment, header + 16, SEGMENT_ID_BYTES);
    position->offset = fresh ? SEGMENT_HEADER_BYTES : (uint64_t)size;
    position->known = true;
    return true;
}

enum outcome { OUTCOME_STORED, OUTCOME_AGAIN, OUTCOME_ELSEWHERE, OUTCOME_FAILED };

static enum outcome current_append(struct spool *spool, const struct frame *frame, struct position *position,
                                   uint64_t deadline) {
    struct stat status;
    if (spool->current < 0) {
        spool->current = openat(spool->directory, "current.wks",
                                O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
                                spool->shared ? 0640 : 0600);
    }
    if (spool->current < 0) {
        /* EACCES: sealed, and about to be renamed. */
        return errno == EACCES || errno == EINTR ? OUTCOME_AGAIN : OUTCOME_ELSEWHERE;
    }
    if (!lock_until(spool->current, deadline) || fstat(spool->current, &status) != 0 ||
        !S_ISREG(status.st_mode) || !owned_safely(&status, spool->uid)) {
        current_close(spool);
        return OUTCOME_ELSEWHERE;
    }
    if (!still_open(&status)) {
        current_close(spool);
        return OUTCOME_AGAIN;
    }
    if ((uint64_t)status.st_size + frame->head_length + frame->payload_length > SEGMENT_LIMIT) {
        current_close(spool);
        return OUTCOME_ELSEWHERE;
    }
    bool stored = current_write(spool, frame, status.st_size, position);
    (void)flock(spool->current, LOCK_UN);
    return stored ? OUTCOME_STORED : OUTCOME_FAILED;
}

/* Creates and locks a segment of our own; `name` is for taking it back. */
static int private_open(struct spool *spool, uint8_t header[SEGMENT_HEADER_BYTES], char name[PRIVATE_NAME_BYTES]) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        struct stat status;
        uint8_t created[8];
        if (!segment_header(header)) {
            return -1;
        }
        for (unsigned i = 0; i < 8; i++) {
            created[i] = header[15 - i];
        }
        memcpy(name, "private-", 8);
        hex_encode(name + 8, created, 8);
        name[24] = '-';
        hex_encode(name + 25, header + 16, SEGMENT_ID_BYTES);
        memcpy(name + 57, ".wks", 5);
        int file = openat(spool->directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                          spool->shared ? 0640 : 0600);
        if (file < 0) {
            return -1;
        }
        if (lock_until(file, clock_ns(false) + PRIVATE_LOCK_WAIT_NS) && fstat(file, &status) == 0 &&
            still_open(&status)) {
            return file;
        }
        (void)close(file);
    }
    return -1;
}

static bool private_append(struct spool *spool, const struct frame *frame, struct position *position) {
    uint8_t header[SEGMENT_HEADER_BYTES];
    char name[PRIVATE_NAME_BYTES];
    int file = private_open(spool, header, name);
    if (file < 0) {
        return false;
    }
    bool stored = write_whole(file, header, frame, 0);
    if (stored) {
        memcpy(position->segment, header + 16, SEGMENT_ID_BYTES);
        position->offset = SEGMENT_HEADER_BYTES;
        position->known = true;
        (void)fchmod(file, spool->shared ? 0440 : 0400);
    } else {
        (void)unlinkat(spool->directory, name, 0);
    }
    (void)close(file);
    return stored;
}

/* Appends one finished frame that lies in memory; false when it could not be stored. */
bool spool_append(struct spool *spool, const struct frame *frame, struct position *position) {
    uint64_t deadline = clock_ns(false) + LOCK_WAIT_NS;
    position->known = false;
    if (spool->directory < 0) {
        return false;
    }
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        switch (current_append(spool, frame, position, deadline)) {
        case OUTCOME_STORED:
            return true;
        case OUTCOME_FAILED:
            return false;
        case OUTCOME_ELSEWHERE:
            return private_append(spool, frame, position);
        case OUTCOME_AGAIN:
            pause_us(50);
            break;
        }
    }
    return private_append(spool, frame, position);
}

static bool write_fully(int file, const uint8_t *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

/* Reads what is there, waiting when nothing is; 0 at the end. */
size_t input_read(int input, uint8_t *to, size_t room) {
    for (;;) {
        ssize_t got = read(input, to, room);
        if (got >= 0) {
            return (size_t)got;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd watch = {input, POLLIN, 0};
            (void)poll(&watch, 1, -1);
        } else if (errno != EINTR) {
            return 0;
        }
    }
}

static uint8_t chunk[1u << 16];

/* Copies the rest of the input behind what is there; returns the payload's length, or 0 when the file took no more. */
static size_t copy_rest(int file, int input, size_t length, uint16_t *flags) {
    for (;;) {
        size_t take = input_read(input, chunk, sizeof chunk);
        if (take == 0) {
            return length;
        }
        if (take > PAYLOAD_LIMIT - length) {
            take = PAYLOAD_LIMIT - length;
            *flags = (uint16_t)(*flags | FLAG_TRUNCATED);
        }
        if (!write_fully(file, chunk, take)) {
            return 0;
        }
        length += take;
    }
}

static bool checksum_stream(struct frame *frame, uint32_t *crc) {
    off_t at = frame->stream_offset;
    size_t left = frame->payload_length;
    *crc = crc32_update(0, frame->head + 16, frame->head_length - 16);
    while (left > 0) {
        ssize_t got = pread(frame->stream, chunk, left < sizeof chunk ? left : sizeof chunk, at);
        if (got <= 0) {
            return false;
        }
        *crc = crc32_update(*crc, chunk, (size_t)got);
        at += got;
        left -= (size_t)got;
    }
    return true;
}

/* Stores a frame whose payload outgrew memory: the part in memory, then `input` to its end, in a segment of its own.
 * When it fails, the frame keeps its part in memory, and the caller still has to drain the input. */
bool spool_stream(struct spool *spool, struct frame *frame, uint16_t flags, struct position *position, int input) {
    uint8_t header[SEGMENT_HEADER_BYTES];
    char name[PRIVATE_NAME_BYTES];
    uint32_t crc = 0;
    size_t in_memory = frame->payload_length;
    position->known = false;
    int file = spool->directory < 0 ? -1 : private_open(spool, header, name);
    if (file < 0) {
        return false;
    }
    off_t start = (off_t)(SEGMENT_HEADER_BYTES + frame->head_length);
    size_t length = 0;
    if (write_fully(file, header, sizeof header) && write_fully(file, frame->head, frame->head_length) &&
        write_fully(file, frame->payload, in_memory)) {
        length = copy_rest(file, input, in_memory, &flags);
    }
    if (length > 0) {
        frame_lengths(frame, flags, length);
        frame->stream = file;
        frame->stream_offset = start;
        if (checksum_stream(frame, &crc)) {
            put_u32(frame->head + 12, crc);
            position->known = pwrite(file, frame->head, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES) ==
                              (ssize_t)FRAME_HEADER_BYTES;
        }
    }
    if (!position->known) {
        (void)unlinkat(spool->directory, name, 0);
        (void)close(file);
        frame->stream = -1;
        frame_lengths(frame, flags, in_memory);
        return false;
    }
    memcpy(position->segment, header + 16, SEGMENT_ID_BYTES);
    position->offset = SEGMENT_HEADER_BYTES;
    (void)fchmod(file, spool->shared ? 0440 : 0400);
    (void)flock(file, LOCK_UN);
    return true;
}

/* Tells the recorder that there is something to read, and never waits for it. */
void doorbell_ring(const char *home) {
    struct sockaddr_un address;
    uint32_t length = 0;
    int bell = unix_address(home, "/run/doorbell.sock", &address, &length) ? unix_socket(SOCK_DGRAM) : -1;
    if (bell >= 0) {
        (void)!sendto(bell, "!", 1, MSG_DONTWAIT, (const struct sockaddr *)&address, length);
        (void)close(bell);
    }
}
