/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_options.c - see cmd_options.h. */
#include "formula/cmd_options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formula/wall.h"
#include "lib/err.h"

int cb_cmd_parse(const struct cb_opt *options, int argc, char **argv, void *config,
                 const char **ret_argument, struct cb_err *err)
{
    int next = 1;
    int r = cb_config_parse(options, NULL, argc, argv, config, &next, err);

    *ret_argument = NULL;
    if (r == 0 && next < argc) {
        *ret_argument = argv[next]; /* options may stand behind it, too */
        for (int i = next; i < argc; i++)
            argv[i] = argv[i + 1];
        r = cb_config_parse(options, NULL, --argc, argv, config, &next, err);
    }
    if (r == 0 && next < argc)
        r = cb_err_set(err, EINVAL, "unexpected argument '%.60s', see --help", argv[next]);
    return r;
}

int cb_cmd_idle(const char *text, enum cb_idle_policy *ret_policy, struct cb_err *err)
{
    if (cb_idle_parse(text, ret_policy) < 0)
        return cb_err_set(err, EINVAL,
                          "option --idle: '%.20s' is none of none, proportional, equal", text);
    return 0;
}

int cb_cmd_time(const char *option, const char *text, uint64_t def, uint64_t *ret_wall_ns,
                struct cb_err *err)
{
    *ret_wall_ns = def;
    if (text && cb_wall_parse(text, ret_wall_ns) < 0)
        return cb_err_set(err, EINVAL,
                          "option --%s: '%.40s' is not a time such as 2026-11-22T14:00:00Z", option,
                          text);
    return 0;
}

int cb_cmd_times(const char *from, const char *to, uint64_t *ret_from_wall_ns,
                 uint64_t *ret_to_wall_ns, struct cb_err *err)
{
    int r = cb_cmd_time("from", from, 0, ret_from_wall_ns, err);

    if (r == 0)
        r = cb_cmd_time("to", to, INT64_MAX, ret_to_wall_ns, err);
    if (r == 0 && *ret_from_wall_ns >= *ret_to_wall_ns)
        r = cb_err_set(err, EINVAL, "option --from: does not lie before --to");
    return r;
}

int cb_cmd_form(bool csv, bool json, struct cb_err *err)
{
    if (csv && json)
        return cb_err_set(err, EINVAL, "options --csv and --json: one of them");
    return 0;
}

void cb_cmd_csv(const char *text)
{
    bool quoted = strpbrk(text, ",\"\r\n") != NULL;

    if (quoted)
        (void)putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            (void)putchar('"');
        (void)putchar(*text);
    }
    if (quoted)
        (void)putchar('"');
}

/* Fifteen digits give back every whole number of microjoules below a gigajoule. */
static void print_value(const json_t *value)
{
    char text[64];

    if (json_is_string(value)) {
        cb_cmd_csv(json_string_value(value));
    } else if (json_is_integer(value)) {
        (void)printf("%" PRId64, (int64_t)json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)snprintf(text, sizeof(text), "%.15g", json_real_value(value));
        (void)fputs(text, stdout);
    }
}

static void print_line(const json_t *columns, const json_t *row)
{
    const char *column;
    json_t *unused;
    bool first = true;

    json_object_foreach((json_t *)(uintptr_t)columns, column, unused)
    {
        if (!first)
            (void)putchar(',');
        first = false;
        if (row)
            print_value(json_object_get(row, column));
        else
            cb_cmd_csv(column);
    }
    (void)putchar('\n');
}

static void print_rows(const json_t *rows)
{
    json_t *columns = json_object();
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)(void) json_object_update_missing(columns, row);
    if (json_array_size(rows))
        print_line(columns, NULL);
    json_array_foreach(rows, i, row) print_line(columns, row);
    json_decref(columns);
}

void cb_cmd_rows(const json_t *rows, bool csv)
{
    json_t *row;
    size_t i;

    if (csv) {
        print_rows(rows);
        return;
    }
    json_array_foreach(rows, i, row)
    {
        (void)fputs(i ? ",\n" : "[\n", stdout);
        (void)json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    }
    (void)puts(json_array_size(rows) ? "\n]" : "[]");
}
