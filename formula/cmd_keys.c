/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_keys.c - `cbformula keys`: which sensors are let in. A running server follows at once. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "formula/cmd.h"
#include "formula/cmd_options.h"
#include "formula/known.h"
#include "lib/err.h"
#include "lib/keys.h"

#define ARGUMENTS_MAX 4 /* one more than any verb has */

struct config {
    const char *state_dir;
    bool help;
};

static const struct cb_opt options[] = {
    CB_CMD_STATE_DIR(struct config),
    CB_CMD_HELP(struct config),
    {.key = NULL},
};

static int usage(FILE *out)
{
    (void)fputs("usage: cbformula keys add NAME KEY|FILE\n"
                "       cbformula keys list\n"
                "       cbformula keys revoke NAME\n\n"
                "NAME is the sensor's name, KEY its public key as 'cbsensor --print-key' shows it, "
                "FILE a file\nwith it (sensor.pub).\n\n",
                out);
    cb_config_help(out, options, NULL);
    return out == stderr ? CB_CMD_USAGE : 0;
}

static int add(int dir_fd, const char *name, const char *key_or_path, struct cb_err *err)
{
    char key[CB_KEY_SIZE];
    int r = cb_keys_public(key_or_path, key, err);

    return r < 0 ? r : cb_known_add(dir_fd, name, key, err);
}

static int list(int dir_fd, struct cb_err *err)
{
    struct cb_known *known = NULL;
    int r = cb_known_open(dir_fd, &known, err);

    for (size_t i = 0; r == 0 && i < cb_known_count(known); i++)
        (void)printf("%s %s\n", cb_known_at(known, i)->name, cb_known_at(known, i)->key);
    (void)cb_known_close(known);
    return r;
}

static int run(const struct config *config, int argc, char **argv, struct cb_err *err)
{
    cb_auto_close int dir_fd = cb_state_open(config->state_dir, strcmp(argv[0], "list") != 0, err);

    if (dir_fd < 0)
        return dir_fd;
    if (strcmp(argv[0], "add") == 0 && argc == 3)
        return add(dir_fd, argv[1], argv[2], err);
    if (strcmp(argv[0], "revoke") == 0 && argc == 2)
        return cb_known_revoke(dir_fd, argv[1], err);
    return list(dir_fd, err);
}

static bool is_known(int argc, char **argv)
{
    return (argc == 3 && strcmp(argv[0], "add") == 0) ||
           (argc == 2 && strcmp(argv[0], "revoke") == 0) ||
           (argc == 1 && strcmp(argv[0], "list") == 0);
}

static char *take(int *argc, char **argv, int at)
{
    char *argument = argv[at];

    for (int i = at; i < *argc; i++)
        argv[i] = argv[i + 1];
    --*argc;
    return argument;
}

/* What is no option, in order; options may stand anywhere. A key may begin with '-', or as the last
 * argument look like an option. */
static int arguments(int argc, char **argv, struct config *config, char *ret[ARGUMENTS_MAX],
                     struct cb_err *err)
{
    int next = 1;
    int n = 0;

    for (;;) {
        int r = cb_config_parse(options, NULL, argc, argv, config, &next, err);

        if (r < 0)
            return r;
        if (next >= argc || n == ARGUMENTS_MAX)
            return n;
        ret[n++] = take(&argc, argv, next);
        if (n == 2 && strcmp(ret[0], "add") == 0 && next < argc && cb_keys_is_z85(argv[next]) &&
            (next + 1 == argc || strncmp(argv[next], "--", 2) != 0))
            ret[n++] = take(&argc, argv, next);
    }
}

int cb_cmd_keys(int argc, char **argv)
{
    char *arguments_of[ARGUMENTS_MAX];
    struct config config = {.help = false};
    struct cb_err err = {0};
    int n = arguments(argc, argv, &config, arguments_of, &err);

    if (n < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    if (config.help)
        return usage(stdout);
    if (!is_known(n, arguments_of)) {
        (void)cb_err_set(&err, EINVAL,
                         "usage: cbformula keys add NAME KEY|FILE | list | revoke NAME");
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    }
    if (run(&config, n, arguments_of, &err) < 0)
        return cb_cmd_fail(CB_CMD_FAILED, &err);
    return 0;
}
