/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - cbtester: the table of its commands. Without one, the arguments are those of `run`. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tester/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", cb_tester_run},
    {"show", cb_tester_show},
};

/* A closed descriptor 0, 1 or 2 would be given to the next socket. Read-only, so that writing a
 * recap to a closed output is an error as before. */
static int hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            return -1;
    return 0;
}

int main(int argc, char **argv)
{
    if (hold_standard_descriptors() < 0)
        return CB_TESTER_BROKEN;
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return cb_tester_run(argc, argv);
}
