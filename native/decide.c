/* One round trip to the decider, within a deadline; anything unexpected means that there is no decision. */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static uint8_t answer[ANSWER_LIMIT];

/* A socket that neither blocks nor outlives this program. */
int unix_socket(int type) {
#ifdef SOCK_CLOEXEC
    return socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
    int made = socket(AF_UNIX, type, 0);
    if (made >= 0) {
        (void)fcntl(made, F_SETFD, FD_CLOEXEC);
        (void)fcntl(made, F_SETFL, O_NONBLOCK);
    }
    return made;
#endif
}

/* Fills a sockaddr_un with HOME and `name`; on Linux a home too long for it is reached through its descriptor. */
bool unix_address(const char *home, const char *name, void *address, uint32_t *length) {
    struct sockaddr_un *to = address;
    size_t home_length = strlen(home), name_length = strlen(name) + 1;
    char number[24] = "/proc/self/fd/";
    memset(to, 0, sizeof *to);
    to->sun_family = AF_UNIX;
    if (home_length + name_length > sizeof to->sun_path) {
#ifdef __linux__
        static int directory = -1;
        if (directory < 0) {
            directory = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC);
        }
        if (directory < 0) {
            return false;
        }
        home_length = 14 + decimal_encode(number + 14, (uint64_t)directory);
        home = number;
#else
        (void)number;
        return false;
#endif
    }
    memcpy(to->sun_path, home, home_length);
    memcpy(to->sun_path + home_length, name, name_length);
    *length = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + home_length + name_length);
    return true;
}

static bool wait_for(int peer, short events, uint64_t deadline) {
    for (;;) {
        uint64_t now = clock_ns(false);
        if (now >= deadline) {
            return false;
        }
        struct pollfd watch = {peer, events, 0};
        int ready = poll(&watch, 1, (int)((deadline - now + 999999u) / 1000000u));
        if (ready > 0) {
            return true;
        }
        if (ready < 0 && errno != EINTR) {
            return false;
        }
    }
}

/* Only root and the home's owner may decide: anyone could have bound the name in a shared folder, and in a managed home
 * even the agent's own user is one whose decisions do not count. */
static bool peer_trusted(int peer, const char *home) {
    struct stat status;
    uid_t uid;
#ifdef __linux__
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
        return false;
    }
    uid = credentials.uid;
#else
    gid_t group;
    if (getpeereid(peer, &uid, &group) != 0) {
        return false;
    }
#endif
    return uid == 0 || (stat(home, &status) == 0 && status.st_uid == uid);
}

/* A full queue says EAGAIN at once, so it is asked again until the deadline. */
static enum verdict decider_connect(int peer, const char *home, uint64_t deadline) {
    struct sockaddr_un address;
    uint32_t length = 0;
    if (!unix_address(home, "/run/watchkeeper.sock", &address, &length)) {
        return VERDICT_UNREACHABLE;
    }
    while (connect(peer, (const struct sockaddr *)&address, length) != 0) {
        if (errno == EISCONN) {
            break;
        }
        if (errno != EAGAIN && errno != EINTR && errno != EINPROGRESS) {
            return VERDICT_UNREACHABLE;
        }
        if (clock_ns(false) >= deadline) {
            return VERDICT_TIMEOUT;
        }
        pause_us(500);
    }
    return peer_trusted(peer, home) ? VERDICT_NONE : VERDICT_UNREACHABLE;
}

/* Sends everything in `parts`. A decider that closes early may still have answered, so that is no failure here. */
static enum verdict send_parts(int peer, struct iovec *parts, int count, uint64_t deadline) {
    while (count > 0) {
        ssize_t sent = writev(peer, parts, count);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            return VERDICT_NONE;
        }
        if (sent < 0 && !wait_for(peer, POLLOUT, deadline)) {
            return VERDICT_TIMEOUT;
        }
        size_t left = sent > 0 ? (size_t)sent : 0;
        while (count > 0 && left >= parts->iov_len) {
            left -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
    return VERDICT_NONE;
}

static enum verdict send_request(int peer, const struct frame *frame, uint32_t deadline_ms, uint64_t deadline) {
    static uint8_t chunk[1u << 16];
    uint8_t header[REQUEST_HEADER_BYTES] = {0};
    put_u32(header, REQUEST_MAGIC);
    header[4] = WIRE_VERSION;
    put_u32(header + 8, deadline_ms);
    put_u32(header + 12, (uint32_t)(frame->head_length + frame->payload_length));
    struct iovec parts[3] = {
        {header, sizeof header},
        {(void *)(uintptr_t)frame->head, frame->head_length},
        {(void *)(uintptr_t)frame->payload, frame->payload_length},
    };
    enum verdict problem = send_parts(peer, parts, frame->stream < 0 && frame->payload_length > 0 ? 3 : 2, deadline);
    size_t left = frame->stream < 0 ? 0 : frame->payload_length;
    for (off_t at = frame->stream_offset; left > 0 && problem == VERDICT_NONE;) {
        ssize_t got = pread(frame->stream, chunk, left < sizeof chunk ? left : sizeof chunk, at);
        if (got <= 0) {
            return VERDICT_MALFORMED;
        }
        struct iovec part = {chunk, (size_t)got};
        problem = send_parts(peer, &part, 1, deadline);
        at += got;
        left -= (size_t)got;
    }
    return problem;
}

/* Reads exactly `length` bytes. */
static enum verdict receive(int peer, uint8_t *to, size_t length, uint64_t deadline) {
    size_t have = 0;
    while (have < length) {
        if (!wait_for(peer, POLLIN, deadline)) {
            return VERDICT_TIMEOUT;
        }
        ssize_t got = recv(peer, to + have, length - have, 0);
        if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) {
            continue;
        }
        if (got <= 0) {
            return have == 0 ? VERDICT_UNREACHABLE : VERDICT_MALFORMED;
        }
        have += (size_t)got;
    }
    return VERDICT_NONE;
}

static enum verdict round_trip(int peer, const char *home, const struct frame *frame, uint32_t deadline_ms,
                               uint64_t deadline, struct decision *decision) {
    uint8_t header[ANSWER_HEADER_BYTES];
    enum verdict problem = decider_connect(peer, home, deadline);
    if (problem == VERDICT_NONE) {
        problem = send_request(peer, frame, deadline_ms, deadline);
    }
    if (problem == VERDICT_NONE) {
        problem = receive(peer, header, sizeof header, deadline);
    }
    if (problem != VERDICT_NONE) {
        return problem;
    }
    if (!answer_parse(header, decision)) {
        return VERDICT_MALFORMED;
    }
    problem = receive(peer, answer, decision->output_length, deadline);
    return problem == VERDICT_UNREACHABLE ? VERDICT_MALFORMED : problem;
}

/* Leaves the decision in `decision`; on any failure it has no output, exit code 0, and the failure as its verdict. */
void decider_ask(const char *home, const struct frame *frame, uint32_t deadline_ms, struct decision *decision) {
    uint64_t start = clock_ns(false);
    int peer = unix_socket(SOCK_STREAM);
    enum verdict problem = VERDICT_UNREACHABLE;
    if (peer >= 0) {
        problem = round_trip(peer, home, frame, deadline_ms, start + (uint64_t)deadline_ms * 1000000u, decision);
        (void)close(peer);
    }
    decision->output = answer;
    if (problem != VERDICT_NONE) {
        decision->verdict = problem;
        decision->exit_code = 0;
        decision->output_length = 0;
    }
    decision->latency_us = (uint32_t)((clock_ns(false) - start) / 1000u);
}
