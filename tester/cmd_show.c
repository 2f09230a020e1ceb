/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_show.c - cbtester show [--json] FILE...: recaps that --json wrote, side by side. */
#include "tester/commands.h"

#include <errno.h>
#include <jansson.h>

#include "lib/config.h"
#include "lib/err.h"
#include "tester/render.h"
#include "tester/report.h"

#define FILE_MAX_BYTES (64u << 20)

struct options {
    bool help, json;
};

#define AT(member) offsetof(struct options, member)

static const struct cb_opt table[] = {
    {.key = "json",
     .short_key = 'j',
     .type = CB_OPT_BOOL,
     .offset = AT(json),
     .help = "print one JSON array of the recaps"},
    {.key = "help", .short_key = 'h', .type = CB_OPT_BOOL, .offset = AT(help), .help = "this text"},
    {.key = NULL},
};

/* The whole file; free() it. */
static int read_all(FILE *file, char **ret_text, size_t *ret_size, struct cb_err *err)
{
    cb_auto_free char *text = NULL;
    size_t size = 0;
    size_t n;

    do {
        char *more = realloc(text, size + 65536);

        if (!more)
            return cb_err_set(err, ENOMEM, "out of memory");
        text = more;
        n = fread(text + size, 1, 65536, file);
        size += n;
    } while (n > 0 && size <= FILE_MAX_BYTES);
    if (ferror(file))
        return cb_err_set(err, errno, "cannot read: %s", strerror(errno));
    if (size > FILE_MAX_BYTES)
        return cb_err_set(err, EMSGSIZE, "is above %u MiB", FILE_MAX_BYTES >> 20);
    *ret_text = cb_take(text);
    *ret_size = size;
    return 0;
}

static int add_file(struct cb_report_list *list, const char *path, struct cb_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    cb_auto_free char *text = NULL;
    size_t size = 0;
    int r;

    if (!file)
        return cb_err_set(err, errno, "cannot open %s: %s", path, strerror(errno));
    r = read_all(file, &text, &size, err);
    if (!is_stdin)
        (void)fclose(file);
    if (r == 0)
        r = cb_report_list_parse(list, text, size, err);
    return r < 0 ? cb_err_prefix(err, r, "%s", path) : 0;
}

static int print_json(const struct cb_report_list *list, struct cb_err *err)
{
    json_t *array = json_array();
    int r = 0;

    for (size_t i = 0; i < list->n; i++)
        r |= json_array_append(array, list->reports[i].json);
    if (r == 0)
        r = json_dumpf(array, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(array);
    (void)putchar('\n');
    return r == 0 ? 0 : cb_err_set(err, EIO, "cannot write the recaps");
}

static int show(const struct options *o, int n, char **paths, struct cb_err *err)
{
    struct cb_report_list list = {0};
    int r = 0;

    for (int i = 0; r == 0 && i < n; i++)
        r = add_file(&list, paths[i], err);
    if (r == 0)
        r = o->json ? print_json(&list, err) : cb_render_reports(list.reports, list.n, stdout, err);
    cb_report_list_clear(&list);
    if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        r = cb_err_set(err, EIO, "cannot write: %s", strerror(errno));
    return r;
}

int cb_tester_show(int argc, char **argv)
{
    struct options o = {0};
    struct cb_err err = {0};
    int next = 0;

    if (cb_config_parse(table, NULL, argc, argv, &o, &next, &err) < 0) {
        (void)fprintf(stderr, "cbtester: show: %s\n", err.text);
        return CB_TESTER_BAD_USAGE;
    }
    if (o.help) {
        (void)puts("usage: cbtester show [--json] FILE...\n\n"
                   "Show recaps side by side; - reads the input.\n");
        cb_config_help(stdout, table, NULL);
        return CB_TESTER_OK;
    }
    if (next == argc) {
        (void)fputs("usage: cbtester show [--json] FILE...; - reads the input\n", stderr);
        return CB_TESTER_BAD_USAGE;
    }
    if (show(&o, argc - next, argv + next, &err) < 0) {
        (void)fprintf(stderr, "cbtester: %s\n", err.text);
        return CB_TESTER_BROKEN;
    }
    return CB_TESTER_OK;
}
