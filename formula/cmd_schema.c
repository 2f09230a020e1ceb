/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_schema.c - `cbformula schema`: the names, units and meanings of all metrics. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "formula/cmd.h"
#include "formula/cmd_options.h"
#include "lib/err.h"
#include "lib/schema.h"

struct config {
    bool markdown;
    bool help;
};

static const struct cb_opt options[] = {
    {.key = "markdown",
     .type = CB_OPT_BOOL,
     .offset = offsetof(struct config, markdown),
     .help = "as docs/metrics.md instead of tab-separated lines"},
    CB_CMD_HELP(struct config),
    {.key = NULL},
};

int cb_cmd_schema(int argc, char **argv)
{
    struct config config = {.help = false};
    struct cb_err err = {0};
    int next = 1;
    int r = cb_config_parse(options, NULL, argc, argv, &config, &next, &err);

    if (r == 0 && next < argc)
        r = cb_err_set(&err, EINVAL, "unexpected argument '%.60s', see schema --help", argv[next]);
    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    if (config.help) {
        (void)puts("usage: cbformula schema [OPTION...]\n\nThe table of all metrics: name, unit, "
                   "kind, name in /metrics and its labels, meaning.\n");
        cb_config_help(stdout, options, NULL);
    } else if (config.markdown) {
        cb_schema_print_markdown(stdout);
    } else {
        cb_schema_print(stdout);
    }
    return 0;
}
