/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - append /proc/cbmachine/recent to standard output every MS milliseconds, until TERM.
 *
 *   record MS >FILE
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void end(int signal_number)
{
    ended = signal_number;
}

/* One copy, whole or not at all. */
static int copy(void)
{
    static char text[1 << 20];
    size_t size = 0;
    ssize_t n;
    int fd = open("/proc/cbmachine/recent", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    while (size < sizeof(text) && (n = read(fd, text + size, sizeof(text) - size)) > 0)
        size += (size_t)n;
    close(fd);
    return fwrite(text, 1, size, stdout) == size && fflush(stdout) == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = end};
    long ms = argc > 1 ? strtol(argv[1], NULL, 10) : 200;
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    sigaction(SIGTERM, &action, NULL);
    while (!ended) {
        if (copy() != 0) {
            perror("record");
            return 1;
        }
        nanosleep(&pause, NULL);
    }
    return copy() == 0 ? 0 : 1;
}
