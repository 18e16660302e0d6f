/* watchkeeper-hook --home DIR [--decide] [--deadline-ms N] [--kind synthetic]
 *
 * Appends the payload on standard input to the spool below DIR and, with --decide, prints what the decider answers.
 * It exits 0 and prints nothing unless that answer says otherwise; it never writes to standard error.
 */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#ifndef WATCHKEEPER_VERSION
#error "define WATCHKEEPER_VERSION as a string"
#endif

#define DEADLINE_MS 50u
#define DEADLINE_MOST_MS 60000u
#define OUTPUT_WAIT_MS 1000

extern char **environ;

struct options {
    const char *home;
    bool decide;
    uint32_t deadline_ms;
    uint8_t kind;
    const char *print;
};

static uint8_t payload[PAYLOAD_BUFFER_BYTES];
static struct frame event, verdict_frame;

static const char CAPABILITIES[] =
    "{\"wire\":1,\"version\":\"" WATCHKEEPER_VERSION "\",\"decide\":true,\"kinds\":[\"event\",\"synthetic\"],"
    "\"payload_limit\":268435456,\"deadline_ms\":50}\n";

static uint32_t parse_deadline(const char *text) {
    uint32_t value = 0;
    for (; *text >= '0' && *text <= '9' && value <= DEADLINE_MOST_MS; text++) {
        value = value * 10 + (uint32_t)(*text - '0');
    }
    if (*text != '\0' || value == 0) {
        return DEADLINE_MS;
    }
    return value > DEADLINE_MOST_MS ? DEADLINE_MOST_MS : value;
}

/* What it does not know it passes over: a newer installer must not break an older hook. */
static void parse_options(struct options *options, int count, char **arguments) {
    *options = (struct options){NULL, false, DEADLINE_MS, KIND_EVENT, NULL};
    for (int i = 1; i < count; i++) {
        const char *word = arguments[i];
        bool more = i + 1 < count;
        if (strcmp(word, "--decide") == 0) {
            options->decide = true;
        } else if (strcmp(word, "--version") == 0) {
            options->print = "watchkeeper-hook " WATCHKEEPER_VERSION "\n";
        } else if (strcmp(word, "--capabilities") == 0) {
            options->print = CAPABILITIES;
        } else if (more && strcmp(word, "--home") == 0) {
            options->home = arguments[++i];
        } else if (more && strcmp(word, "--deadline-ms") == 0) {
            options->deadline_ms = parse_deadline(arguments[++i]);
        } else if (more && strcmp(word, "--kind") == 0) {
            options->kind = strcmp(arguments[++i], "synthetic") == 0 ? KIND_SYNTHETIC : KIND_EVENT;
        }
    }
}

/* With a standard descriptor closed, the next file we open would take its number, and an answer would land in it. */
static bool standard_descriptors_open(void) {
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) {
            return false;
        }
    }
    return true;
}

static void ignore_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    (void)sigaction(SIGXFSZ, &action, NULL); /* a file size limit must not kill us */
}

static void read_boot_id(uint8_t id[16]) {
    char text[64];
#ifdef __APPLE__
    size_t length = sizeof text;
    if (sysctlbyname("kern.bootsessionuuid", text, &length, NULL, 0) != 0) {
        length = 0;
    }
    (void)uuid_parse(id, text, length);
#else
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text);
    if (file >= 0) {
        (void)close(file);
    }
    (void)uuid_parse(id, text, length > 0 ? (size_t)length : 0);
#endif
}

/* Reads until the end or until the buffer is full, and says how much. */
static size_t read_input(uint8_t *to, size_t room) {
    size_t have = 0, got;
    while (have < room && (got = input_read(STDIN_FILENO, to + have, room - have)) > 0) {
        have += got;
    }
    return have;
}

/* The client must never see its pipe break. */
static void drain_input(void) {
    static uint8_t waste[1u << 16];
    while (read_input(waste, sizeof waste) == sizeof waste) {
    }
}

static void write_output(const uint8_t *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, length);
        if (written < 0 && errno == EAGAIN) {
            struct pollfd watch = {STDOUT_FILENO, POLLOUT, 0};
            if (poll(&watch, 1, OUTPUT_WAIT_MS) <= 0) {
                return;
            }
        } else if (written < 0 && errno != EINTR) {
            return;
        } else if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        }
    }
}

/* Takes the payload in and stores it; when it cannot be stored it is still in memory, good enough to ask about. */
static void record_event(struct spool *spool, const struct options *options, const struct stamp *stamp,
                         struct position *position) {
    uint16_t flags = options->decide ? FLAG_ASKED : 0;
    frame_begin(&event, stamp, options->kind, flags, environ);
    event.payload = payload;
    event.payload_length = read_input(payload, sizeof payload);
    if (event.payload_length == sizeof payload) {
        if (spool_stream(spool, &event, flags, position, STDIN_FILENO)) {
            return;
        }
        drain_input();
        flags = (uint16_t)(flags | FLAG_TRUNCATED);
    }
    frame_lengths(&event, flags, event.payload_length);
    frame_finish(&event);
    (void)spool_append(spool, &event, position);
}

static void record_decision(struct spool *spool, struct stamp *stamp, const struct position *of,
                            const struct decision *decision) {
    static char text[192];
    static char *const nothing[] = {NULL};
    struct position position;
    stamp->wall_ns = clock_ns(true);
    stamp->monotonic_ns = clock_ns(false);
    frame_begin(&verdict_frame, stamp, KIND_DECISION, 0, nothing);
    verdict_frame.payload = (const uint8_t *)text;
    frame_lengths(&verdict_frame, 0, decision_encode(text, of, decision));
    frame_finish(&verdict_frame);
    (void)spool_append(spool, &verdict_frame, &position);
}

static int run(const struct options *options) {
    struct stamp stamp = {clock_ns(true), clock_ns(false), {0}, (uint32_t)geteuid(), (uint32_t)getpid(),
                          (uint32_t)getppid()};
    struct spool spool;
    struct position position = {{0}, 0, false};
    struct decision decision = {VERDICT_NONE, 0, NULL, 0, 0};
    read_boot_id(stamp.boot_id);
    spool_open(&spool, options->home, (uid_t)stamp.uid);
    record_event(&spool, options, &stamp, &position);
    if (options->decide) {
        decider_ask(options->home, &event, options->deadline_ms, &decision);
        record_decision(&spool, &stamp, &position, &decision);
        write_output(decision.output, decision.output_length);
    }
    /* Last, so that a woken recorder does not take the processor from the decider. */
    doorbell_ring(options->home);
    return decision.exit_code;
}

int main(int count, char **arguments) {
    struct options options;
    parse_options(&options, count, arguments);
    if (!standard_descriptors_open()) {
        return 0;
    }
    ignore_signals();
    (void)umask(027); /* a caller's mask without the owner's write bit would make new segments look sealed */
    if (options.print != NULL) {
        write_output((const uint8_t *)options.print, strlen(options.print));
        return 0;
    }
    if (options.home == NULL) {
        drain_input();
        return 0;
    }
    return run(&options);
}
