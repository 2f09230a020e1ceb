/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_recap.c - `cbformula recap`: the stored recaps, as a table, CSV or JSON. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/cmd.h"
#include "formula/cmd_options.h"
#include "formula/pages.h"
#include "formula/recap.h"
#include "formula/recap_flat.h"
#include "formula/store.h"
#include "lib/err.h"

struct config {
    const char *state_dir;
    const char *name;
    const char *from;
    const char *to;
    uint64_t last;
    const char *idle;
    bool flat;
    bool csv;
    bool json;
    bool help;
};

#define LAST_DEFAULT 20 /* of a table that is for the eye */

#define AT(member) .offset = offsetof(struct config, member)

static const struct cb_opt options[] = {
    CB_CMD_STATE_DIR(struct config),
    {.key = "name",
     .short_key = 'n',
     .type = CB_OPT_STRING,
     AT(name),
     .arg = "NAME",
     .help = "only tests of this name"},
    {.key = "last",
     .type = CB_OPT_U64,
     AT(last),
     .min = 1,
     .max = 1000000,
     .arg = "N",
     .help = "the last N of them (default 20; all with --csv, --json, --from or --to)"},
    CB_CMD_FROM(struct config),
    CB_CMD_TO(struct config),
    CB_CMD_IDLE(struct config),
    {.key = "flat",
     .type = CB_OPT_BOOL,
     AT(flat),
     .help = "one row for each test under powerapi-g5k's names, joules (with --csv or --json)"},
    CB_CMD_CSV(struct config),
    CB_CMD_JSON(struct config),
    CB_CMD_HELP(struct config),
    {.key = NULL},
};

struct listing {
    const struct config *config;
    json_t *rows; /* with --flat: the columns are known at the end only */
    enum cb_idle_policy policy;
    size_t n, last; /* so many are told, and so many may be */
    bool more;
    struct cb_err *err;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static int64_t uj_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static double joules_of(const json_t *object, const char *key)
{
    return (double)uj_of(object, key) / 1e6;
}

/* ---- CSV ---- */

static void csv_field(const char *text)
{
    cb_cmd_csv(text);
    (void)putchar(',');
}

static void csv_number(const json_t *value)
{
    if (json_is_number(value))
        (void)printf("%.9f,", json_number_value(value));
    else
        (void)putchar(',');
}

static void print_csv(const json_t *recap, const json_t *phase, const json_t *domain)
{
    static const char *const heads[] = {"begin", "end",   "name",    "machine",
                                        "id",    "image", "boot_id", "test"};
    static const char *const parts[] = {"energy_uj",      "dynamic_uj",   "others_uj",
                                        "system_uj",      "idle_uj",      "unattributed_uj",
                                        "uncertainty_uj", "idle_share_uj"};

    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        csv_field(text_of(recap, heads[i]));
    if (json_is_integer(json_object_get(recap, "exit_code")))
        (void)printf("%" PRId64, uj_of(recap, "exit_code"));
    (void)putchar(',');
    csv_field(text_of(phase, "phase"));
    csv_number(json_object_get(phase, "seconds"));
    csv_number(json_object_get(phase, "covered_seconds"));
    csv_number(json_object_get(phase, "cpu_seconds"));
    csv_number(json_object_get(phase, "machine_cpu_seconds"));
    (void)printf("%" PRId64 ",%s,%s", uj_of(domain, "socket"), text_of(domain, "domain"),
                 text_of(domain, "source"));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        (void)printf(",%" PRId64, uj_of(domain, parts[i]));
    (void)putchar('\n');
}

static void print_csv_head(void)
{
    (void)puts("begin,end,name,machine,id,image,boot_id,test,exit_code,phase,seconds,"
               "covered_seconds,cpu_seconds,machine_cpu_seconds,socket,domain,source,energy_uj,"
               "dynamic_uj,others_uj,system_uj,idle_uj,unattributed_uj,uncertainty_uj,"
               "idle_share_uj");
}

/* ---- table ---- */

static void print_table(const json_t *recap, const json_t *phase, const json_t *domain)
{
    char where[32];

    (void)snprintf(where, sizeof(where), "%s/%" PRId64, text_of(domain, "domain"),
                   uj_of(domain, "socket"));
    (void)printf("%-24s %-16.16s %-12.12s %-9s %8.2f %-10s %-9s %10.3f %9.3f %10.3f %9.3f %9.3f "
                 "%9.3f %9.3f\n",
                 text_of(recap, "begin"), text_of(recap, "name"), text_of(recap, "machine"),
                 text_of(phase, "phase"), json_number_value(json_object_get(phase, "seconds")),
                 where, text_of(domain, "source"), joules_of(domain, "dynamic_uj"),
                 joules_of(domain, "uncertainty_uj"), joules_of(domain, "energy_uj"),
                 joules_of(domain, "others_uj"), joules_of(domain, "system_uj"),
                 joules_of(domain, "idle_uj"), joules_of(domain, "idle_share_uj"));
}

static void print_table_head(void)
{
    (void)printf("%-24s %-16s %-12s %-9s %8s %-10s %-9s %10s %9s %10s %9s %9s %9s %9s\n",
                 "BEGIN (UTC)", "NAME", "MACHINE", "PHASE", "SECONDS", "DOMAIN", "SOURCE",
                 "DYNAMIC J", "+- J", "SOCKET J", "OTHERS J", "SYSTEM J", "IDLE J", "IDLE SH. J");
}

/* ---- walking ---- */

/* Under powerapi-g5k's names. */
static int take_flat(struct listing *listing, const json_t *recap)
{
    json_t *flat = NULL;
    int r = cb_flat_recap(recap, &flat, listing->err);

    if (r == 0)
        r = cb_flat_dates_to_text(flat, listing->err);
    if (r == 0 && json_array_append(listing->rows, flat) < 0)
        r = cb_err_set(listing->err, ENOMEM, "out of memory");
    json_decref(flat);
    return r;
}

static void print_recap(const struct listing *listing, const json_t *recap)
{
    const json_t *phase;
    size_t i;

    if (listing->config->json) {
        (void)fputs(listing->n ? ",\n" : "[\n", stdout);
        (void)json_dumpf(recap, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
        return;
    }
    if (listing->n == 0) {
        if (listing->config->csv)
            print_csv_head();
        else
            print_table_head();
    }
    json_array_foreach(json_object_get(recap, "phases"), i, phase)
    {
        const json_t *domain;
        size_t d;

        json_array_foreach(json_object_get(phase, "domains"), d, domain)
        {
            if (listing->config->csv)
                print_csv(recap, phase, domain);
            else
                print_table(recap, phase, domain);
        }
    }
}

static int take(void *context, const char *test_id, const char *document)
{
    struct listing *listing = context;
    json_t *recap;
    int r;

    if (listing->n == listing->last) {
        listing->more = true;
        return 0;
    }
    recap = json_loads(document, 0, NULL);
    r = recap ? cb_recap_tell(recap, listing->policy, listing->err)
              : cb_err_set(listing->err, EBADMSG, "the recap of test %s is damaged", test_id);

    if (r == 0 && listing->rows)
        r = take_flat(listing, recap);
    else if (r == 0)
        print_recap(listing, recap);
    listing->n++;
    json_decref(recap);
    return r;
}

static int print_all(struct listing *listing, const struct cb_store_recap_filter *filter)
{
    const struct config *config = listing->config;
    struct cb_store *store = NULL;
    int r = cb_state_read(config->state_dir, &store, listing->err);

    if (r == 0)
        r = cb_pages_recaps(store, filter, take, listing, listing->err);
    (void)cb_store_close(store);
    if (r < 0)
        return r;
    if (listing->rows)
        cb_cmd_rows(listing->rows, config->csv);
    else if (config->json)
        (void)puts(listing->n ? "\n]" : "[]");
    if (listing->n == 0 && !config->json)
        (void)fprintf(stderr, "cbformula: no recap is stored%s\n",
                      filter->machine || filter->name ? " for this machine and name" : "");
    if (listing->more)
        (void)fputs("cbformula: there are more, see --last\n", stderr);
    return 0;
}

static int run(struct listing *listing, const char *machine)
{
    const struct config *config = listing->config;
    struct cb_store_recap_filter filter = {.machine = machine, .name = config->name};
    int r = cb_cmd_times(config->from, config->to, &filter.from_wall_ns, &filter.to_wall_ns,
                         listing->err);

    if (r == 0 && config->flat && !config->csv && !config->json)
        r = cb_err_set(listing->err, EINVAL, "option --flat: needs --csv or --json");
    if (r < 0)
        return r;
    listing->last = LAST_DEFAULT;
    if (config->last)
        listing->last = config->last;
    else if (config->csv || config->json || config->from || config->to)
        listing->last = SIZE_MAX;
    filter.limit = listing->last < UINT32_MAX ? (unsigned)listing->last + 1 : UINT32_MAX;
    if (config->flat) {
        listing->rows = json_array();
        if (!listing->rows)
            return cb_err_set(listing->err, ENOMEM, "out of memory");
    }
    r = print_all(listing, &filter);
    json_decref(listing->rows);
    return r;
}

int cb_cmd_recap(int argc, char **argv)
{
    struct config config = {.help = false};
    struct cb_err err = {0};
    struct listing listing = {.config = &config, .err = &err};
    const char *machine = NULL;
    int r = cb_cmd_parse(options, argc, argv, &config, &machine, &err);

    if (r == 0)
        r = cb_cmd_idle(config.idle, &listing.policy, &err);
    if (r == 0)
        r = cb_cmd_form(config.csv, config.json, &err);
    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    if (config.help) {
        (void)puts("usage: cbformula recap [OPTION...] [MACHINE]\n\nThe stored recaps of tests, "
                   "newest first: one line for each phase, socket and domain.\n");
        cb_config_help(stdout, options, NULL);
        return 0;
    }
    r = run(&listing, machine);
    return r < 0 ? cb_cmd_fail(r == -EINVAL ? CB_CMD_USAGE : CB_CMD_FAILED, &err) : 0;
}
