/* The scanner's program: watchkeeper-scan THREADS
 *
 * Standard input: for each file five strings, each ended by NUL: its path, where to begin and to end (decimal), and the
 * session and the agent that its place names (empty: none). Files are begun in this order.
 * Standard output: SCAN_FORMAT, then for each thread eight bytes with a length (least first) and a marshal document
 * of so many bytes: a list with one list for each file, [index, position, requests, sessions, rest]: where its whole
 * lines end, the facts as usage_scan.py holds them, and the length of an unfinished line behind the position that may
 * be whole. A file that is Python's to read has None for its facts.
 * It ends with 0, or says nothing that counts.
 */
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    const char *path;
    int64_t start, end;
    struct text session, agent;
};

struct work {
    struct file *files;
    size_t count;
    atomic_size_t next;
};

struct worker {
    struct work *work;
    struct facts *facts;
    struct output output;
    uint8_t *buffer;
    size_t room;
    uint32_t done;
    pthread_t thread;
};

struct reading {
    int descriptor;
    int64_t position; /* of the first byte in the buffer */
    size_t kept;      /* bytes of a line without its end so far */
};

/* Reads up to a block behind what is kept; returns how much, or -1. */
static ssize_t read_block(const struct worker *worker, const struct reading *reading, size_t wanted) {
    size_t got = 0;
    while (got < wanted) {
        off_t from = (off_t)(reading->position + (int64_t)(reading->kept + got));
        ssize_t more = pread(reading->descriptor, worker->buffer + reading->kept + got, wanted - got, from);
        if (more < 0 && errno == EINTR) {
            continue;
        }
        if (more < 0) {
            return -1;
        }
        if (more == 0) {
            break;
        }
        got += (size_t)more;
    }
    return (ssize_t)got;
}

static size_t whole_lines(const uint8_t *data, size_t length) {
    return (size_t)(line_start(data, data + length) - data);
}

/* Makes the buffer large enough for what is left of a file, or for a block; returns how much is read at most. */
static size_t prepare(struct worker *worker, const struct file *file) {
    int64_t left = file->end > file->start ? file->end - file->start : 0;
    size_t block = left < (int64_t)SCAN_BLOCK ? (size_t)left : SCAN_BLOCK;
    if (block + SCAN_PADDING > worker->room) {
        free(worker->buffer);
        worker->room = block + (block < SCAN_BLOCK / 2 ? block / 2 : 0) + SCAN_PADDING;
        worker->buffer = grown(NULL, worker->room, 1);
    }
    return block;
}

/* Takes all whole lines up to the file's end as it was told; false for a file that is Python's. */
static bool take_blocks(struct worker *worker, struct reading *reading, size_t block, int64_t end) {
    while ((int64_t)reading->kept < end - reading->position) {
        int64_t left = end - reading->position - (int64_t)reading->kept;
        size_t wanted = block - reading->kept;
        ssize_t got = read_block(worker, reading, left < (int64_t)wanted ? (size_t)left : wanted);
        if (got <= 0) {
            return got == 0 && wanted > 0; /* a line longer than a block is not for here */
        }
        size_t length = reading->kept + (size_t)got;
        size_t whole = whole_lines(worker->buffer, length);
        memset(worker->buffer + length, 0, SCAN_PADDING);
        if (whole > 0 && !facts_take(worker->facts, worker->buffer, whole)) {
            return false;
        }
        memmove(worker->buffer, worker->buffer + whole, length - whole);
        reading->kept = length - whole;
        reading->position += (int64_t)whole;
    }
    return true;
}

/* Returns the length of a last line that has no end but may be whole. */
static size_t rest_of(const struct worker *worker, size_t kept) {
    size_t length = kept;
    while (length > 0 && memchr("\0 \t\r", worker->buffer[length - 1], 4) != NULL) {
        length--;
    }
    return length > 0 && worker->buffer[length - 1] == '}' ? kept : 0;
}

static void scan_file(struct worker *worker, size_t index) {
    const struct file *file = &worker->work->files[index];
    struct reading reading = {open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), file->start, 0};
    struct stat found;
    bool judged = reading.descriptor >= 0 && fstat(reading.descriptor, &found) == 0 && S_ISREG(found.st_mode);
    if (judged) {
        facts_begin(worker->facts, &file->session, &file->agent);
        judged = take_blocks(worker, &reading, prepare(worker, file), file->end);
    }
    if (reading.descriptor >= 0) {
        (void)close(reading.descriptor);
    }
    output_list(&worker->output, 5);
    output_number(&worker->output, (int64_t)index);
    output_number(&worker->output, reading.position);
    if (judged) {
        output_facts(&worker->output, worker->facts);
    } else {
        output_none(&worker->output);
        output_none(&worker->output);
    }
    output_number(&worker->output, judged ? (int64_t)rest_of(worker, reading.kept) : 0);
    worker->done++;
}

static void *scan_files(void *given) {
    struct worker *worker = given;
    output_list(&worker->output, 0);
    for (size_t index; (index = atomic_fetch_add(&worker->work->next, 1)) < worker->work->count;) {
        scan_file(worker, index);
    }
    for (unsigned i = 0; i < 4; i++) {
        worker->output.bytes[1 + i] = (uint8_t)(worker->done >> 8 * i & 0xFF);
    }
    return NULL;
}

/* Returns all of standard input with a NUL behind it. */
static char *read_input(size_t *length) {
    size_t room = 1u << 16;
    char *bytes = grown(NULL, room, 1);
    *length = 0;
    for (;;) {
        ssize_t got = read(STDIN_FILENO, bytes + *length, room - *length - 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            exit(2);
        }
        if (got == 0) {
            bytes[*length] = '\0';
            return bytes;
        }
        *length += (size_t)got;
        if (room - *length < 2) {
            room *= 2;
            bytes = grown(bytes, room, 1);
        }
    }
}

static const char *next_string(const char **at, const char *end) {
    const char *string = *at;
    if (string >= end) {
        exit(2); /* a file with too few strings */
    }
    *at += strlen(string) + 1;
    return string;
}

static int64_t next_place(const char **at, const char *end) {
    int64_t place = strtoll(next_string(at, end), NULL, 10);
    if (place < 0 || place > LARGEST_NUMBER) {
        exit(2);
    }
    return place;
}

static struct text hint(const char *string) {
    size_t length = strlen(string);
    return length == 0 ? (struct text){NULL, 0} : (struct text){(const uint8_t *)string, length};
}

static void parse_input(struct work *work, const char *at, size_t length) {
    const char *end = at + length;
    size_t room = 0;
    while (at < end) {
        if (work->count == room) {
            room = room * 2 + 256;
            work->files = grown(work->files, room, sizeof *work->files);
        }
        struct file *file = &work->files[work->count++];
        file->path = next_string(&at, end);
        file->start = next_place(&at, end);
        file->end = next_place(&at, end);
        file->session = hint(next_string(&at, end));
        file->agent = hint(next_string(&at, end));
    }
}

static bool write_all(const void *bytes, size_t length) {
    const uint8_t *at = bytes;
    while (length > 0) {
        ssize_t done = write(STDOUT_FILENO, at, length);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        at += done;
        length -= (size_t)done;
    }
    return true;
}

static bool write_output(const struct output *output) {
    uint8_t length[8];
    for (unsigned i = 0; i < 8; i++) {
        length[i] = (uint8_t)((uint64_t)output->used >> 8 * i & 0xFF);
    }
    return write_all(length, sizeof length) && write_all(output->bytes, output->used);
}

static void prepare_worker(struct worker *worker, struct work *work) {
    worker->work = work;
    worker->facts = grown(NULL, 1, sizeof *worker->facts);
    memset(worker->facts, 0, sizeof *worker->facts);
}

static void free_worker(struct worker *worker) {
    facts_free(worker->facts);
    free(worker->facts);
    free(worker->output.bytes);
    free(worker->buffer);
}

int main(int count, char **arguments) {
    static struct worker workers[SCAN_THREADS];
    static struct work work;
    size_t length;
    int threads = count > 1 ? atoi(arguments[1]) : 1, begun = 1;
    threads = threads < 1 ? 1 : threads > SCAN_THREADS ? SCAN_THREADS : threads;
    char *input = read_input(&length);
    parse_input(&work, input, length);
    prepare_worker(&workers[0], &work);
    for (; begun < threads; begun++) {
        prepare_worker(&workers[begun], &work);
        if (pthread_create(&workers[begun].thread, NULL, scan_files, &workers[begun]) != 0) {
            free_worker(&workers[begun]);
            break;
        }
    }
    (void)scan_files(&workers[0]);
    bool written = write_all(SCAN_FORMAT, sizeof SCAN_FORMAT - 1);
    for (int i = 0; i < begun; i++) {
        if (i > 0) {
            (void)pthread_join(workers[i].thread, NULL);
        }
        written = written && write_output(&workers[i].output);
        free_worker(&workers[i]);
    }
    free(work.files);
    free(input);
    return written ? 0 : 2;
}
