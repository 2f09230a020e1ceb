/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - cbtester: the table of its commands. Without one, the arguments are those of `run`. */
#include <string.h>

#include "tester/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", cb_tester_run},
    {"show", cb_tester_show},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return cb_tester_run(argc, argv);
}
