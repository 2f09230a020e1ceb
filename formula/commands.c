/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the table of commands. Without a command cbformula is the server. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/cmd.h"
#include "lib/err.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", cb_cmd_serve, "the server (also without a command)"},
    {"keys", cb_cmd_keys, "add, list or revoke the keys of the sensors that are let in"},
    {"query", cb_cmd_query, "power of machines and containers, tick by tick"},
    {"recap", cb_cmd_recap, "the stored recaps of tests"},
    {"power", cb_cmd_power, "joules of a test, a container or a machine, tick by tick"},
    {"energy", cb_cmd_energy, "the same, summed up"},
    {"schema", cb_cmd_schema, "names, units and meanings of all metrics"},
    {"replay", cb_cmd_replay, "recorded input through a model, results as JSON lines"},
    {"evaluate", cb_cmd_evaluate, "one-step error of a model on a recording"},
    {"record", cb_cmd_record, "keep the sensors' frames in a file for replay"},
};

void cb_cmd_list(void)
{
    (void)puts("Commands (each has its own --help):");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        (void)printf("  %-10s %s\n", commands[i].name, commands[i].help);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* Where the command's name stands: after options of the server, if any. @argc: nowhere. */
static int find_name(int argc, char **argv, struct cb_err *err)
{
    void *ignored;
    int next = 1;
    int r;

    if (argc > 1 && argv[1][0] != '-')
        return 1;
    ignored = calloc(1, cb_serve_options_size());
    if (!ignored)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = cb_config_parse(cb_serve_options, NULL, argc, argv, ignored, &next, err);
    free(ignored);
    return r < 0 ? r : next;
}

int cb_cmd_run(int argc, char **argv)
{
    const struct command *command = &commands[0];
    struct cb_err err = {0};
    int at = find_name(argc, argv, &err);

    if (at < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    if (at < argc) {
        command = find(argv[at]);
        if (!command) {
            (void)cb_err_set(&err, EINVAL, "unknown command '%.60s', see --help", argv[at]);
            return cb_cmd_fail(CB_CMD_USAGE, &err);
        }
        for (int i = at; i < argc; i++) /* argv[argc] is NULL */
            argv[i] = argv[i + 1];
        argc--;
    }
    return command->run(argc, argv);
}
