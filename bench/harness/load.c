/* Runs a program at a steady rate from several writers, each run with a tool call of its own on standard input.
 *
 *     load WRITERS RATE SECONDS BYTES PROGRAM [ARGUMENT...]
 *
 * RATE is runs a second of all writers together. Prints "NANOSECONDS WRITER COUNT" (monotonic clock) every quarter
 * of a second and at the end, so that a reader knows how many runs had ended at any time. A run that fails ends it all.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LONGEST 60000
#define SECOND 1000000000LL

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void sleep_until(long long when) {
    struct timespec time = {when / SECOND, when % SECOND};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* A tool call's beginning or, for odd numbers, its end, padded to `size` bytes. */
static int payload(char *to, int size, int writer, long number) {
    const char *event = number % 2 ? "PostToolUse" : "PreToolUse";
    int length = snprintf(to, LONGEST,
                          "{\"session_id\":\"10ad0000-0000-4000-8000-%012d\",\"cwd\":\"/home/someone/project\","
                          "\"hook_event_name\":\"%s\",\"tool_name\":\"Bash\",\"tool_use_id\":\"toolu_%d_%d_%ld\","
                          "\"tool_response\":{\"stdout\":\"\"},\"tool_input\":{\"command\":\"true\",\"description\":\"",
                          writer, event, (int)getpid(), writer, number / 2);
    while (length < size - 3) {
        to[length++] = 'x';
    }
    memcpy(to + length, "\"}}", 3);
    return length + 3;
}

static void run_once(char **program, const char *body, int length) {
    int ends[2], status = 0;
    pid_t child;
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) != 0 || write(ends[1], body, (size_t)length) != length) {
        exit(3);
    }
    close(ends[1]);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
    char *environment[] = {NULL};
    if (posix_spawn(&child, program[0], &actions, NULL, program, environment) != 0) {
        exit(4);
    }
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    if (waitpid(child, &status, 0) != child || status != 0) {
        exit(5);
    }
}

static void report(int writer, long count) {
    char line[96];
    int length = snprintf(line, sizeof line, "%lld %d %ld\n", now(), writer, count);
    if (write(1, line, (size_t)length) != length) {
        exit(6);
    }
}

static void write_for(int writer, int writers, double rate, double seconds, int size, char **program) {
    static char body[LONGEST + 16];
    long long interval = (long long)(SECOND * writers / rate), start = now() + interval * writer / writers;
    long long end = start + (long long)(seconds * SECOND), next_report = start + SECOND / 4;
    long count = 0;
    for (long long due = start; due < end && now() < end; due += interval) {
        sleep_until(due);
        run_once(program, body, payload(body, size, writer, count));
        count++;
        if (now() >= next_report) {
            report(writer, count);
            next_report += SECOND / 4;
        }
    }
    report(writer, count);
}

int main(int count, char **words) {
    if (count < 6 || atoi(words[4]) > LONGEST) {
        fprintf(stderr, "usage: load WRITERS RATE SECONDS BYTES PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    int writers = atoi(words[1]), failed = 0;
    for (int writer = 0; writer < writers; writer++) {
        if (fork() == 0) {
            write_for(writer, writers, atof(words[2]), atof(words[3]), atoi(words[4]), words + 5);
            return 0;
        }
    }
    for (int status; wait(&status) > 0;) {
        failed |= status;
    }
    return failed != 0;
}
