/* spawn_bench ROUNDS PAYLOAD_FILE -- NAME PROGRAM [ARGUMENT...] [-- NAME PROGRAM ...]
 *
 * Starts each program in turn, ROUNDS times, the way an agent starts a hook: the payload into standard input, read
 * standard output to its end, wait. Prints one line per run: name, nanoseconds, exit status.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CASES 16

extern char **environ;

static char payload[1 << 20];
static size_t payload_length;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static int64_t run_once(char **command, int *status) {
    int in[2], out[2];
    char waste[4096];
    posix_spawn_file_actions_t actions;
    struct rusage usage;
    pid_t child;
    int64_t start = now_ns();
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
        fail("pipe");
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    if (posix_spawn(&child, command[0], &actions, NULL, command, environ) != 0) {
        fail(command[0]);
    }
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    for (size_t sent = 0; sent < payload_length;) {
        ssize_t part = write(in[1], payload + sent, payload_length - sent);
        if (part <= 0) {
            break;
        }
        sent += (size_t)part;
    }
    close(in[1]);
    while (read(out[0], waste, sizeof waste) > 0) {
    }
    close(out[0]);
    if (wait4(child, status, 0, &usage) != child) {
        fail("wait4");
    }
    return now_ns() - start;
}

int main(int count, char **arguments) {
    char **commands[CASES];
    const char *names[CASES];
    int cases = 0;
    if (count < 6) {
        fprintf(stderr, "usage: spawn_bench ROUNDS PAYLOAD_FILE -- NAME PROGRAM [ARGUMENT...] ...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int rounds = atoi(arguments[1]);
    int file = open(arguments[2], O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, payload, sizeof payload);
    if (got < 0) {
        fail(arguments[2]);
    }
    payload_length = (size_t)got;
    for (int i = 3; i < count; i++) {
        if (strcmp(arguments[i], "--") == 0 && i + 2 < count && cases < CASES) {
            arguments[i] = NULL;
            names[cases] = arguments[i + 1];
            commands[cases++] = arguments + i + 2;
        }
    }
    for (int round = -3; round < rounds; round++) {
        for (int turn = 0; turn < cases; turn++) {
            int which = (turn + round + 3) % cases, status = 0;
            int64_t took = run_once(commands[which], &status);
            if (round >= 0) {
                printf("%s %lld %d\n", names[which], (long long)took, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
            }
        }
    }
    return 0;
}
