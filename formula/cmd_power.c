/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_power.c - `cbformula power` and `cbformula energy`: the joules of tests, containers and
 * machines between two times, tick by tick or summed up. The machine's columns are those of
 * powerapi-g5k's notebook (getpowers, getenergy), the container's stand beside them.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/cmd.h"
#include "formula/cmd_options.h"
#include "formula/recap.h"
#include "formula/recap_flat.h"
#include "formula/runs.h"
#include "lib/clock.h"
#include "lib/err.h"

struct config {
    const char *state_dir;
    const char *machine;
    const char *from;
    const char *to;
    uint64_t last;
    const char *idle;
    bool csv;
    bool json;
    bool help;
};

static const struct cb_opt options[] = {
    CB_CMD_STATE_DIR(struct config),
    CB_CMD_MACHINE(struct config),
    CB_CMD_FROM(struct config),
    CB_CMD_TO(struct config),
    {.key = "last",
     .type = CB_OPT_U64,
     .offset = offsetof(struct config, last),
     .def = "1000",
     .min = 1,
     .max = 1000000,
     .arg = "N",
     .help = "of tests with the same name the last N"},
    CB_CMD_IDLE(struct config),
    CB_CMD_CSV(struct config),
    CB_CMD_JSON(struct config),
    CB_CMD_HELP(struct config),
    {.key = NULL},
};

struct column {
    uint16_t socket;
    uint8_t domain;
};

#define MAX_COLUMNS 256

struct show {
    const struct config *config;
    bool ticks; /* else one row a run */
    enum cb_idle_policy policy;
    struct cb_store *store;
    size_t n_columns; /* every socket and domain of the runs: the columns of CSV */
    struct column columns[MAX_COLUMNS];
    size_t rows;
};

/* ---- columns ---- */

static const struct cb_recap_domain *domain_at(const struct cb_recap *recap,
                                               const struct column *column)
{
    const struct cb_recap_phase *phase = &recap->phases[0];

    for (size_t i = 0; i < phase->n_domains; i++)
        if (phase->domains[i].socket == column->socket &&
            phase->domains[i].domain == column->domain)
            return &phase->domains[i];
    return NULL;
}

static void add_column(struct show *show, const struct column *column)
{
    for (size_t i = 0; i < show->n_columns; i++)
        if (show->columns[i].socket == column->socket && show->columns[i].domain == column->domain)
            return;
    if (show->n_columns < MAX_COLUMNS)
        show->columns[show->n_columns++] = *column;
}

static void add_columns(struct show *show, const struct cb_recap *recap)
{
    for (size_t i = 0; i < recap->phases[0].n_domains; i++)
        add_column(show, &(struct column){.socket = recap->phases[0].domains[i].socket,
                                          .domain = recap->phases[0].domains[i].domain});
}

/* ---- one row ---- */

static uint64_t idle_of(const struct show *show, const struct cb_recap_domain *domain)
{
    switch (show->policy) {
    case CB_IDLE_PROPORTIONAL:
        return domain->idle_proportional_uj;
    case CB_IDLE_EQUAL:
        return domain->idle_equal_uj;
    default:
        return 0;
    }
}

/* The figures of one socket and domain; a machine's row has the first only. */
static size_t figures_of(const struct show *show, const struct cb_recap *recap,
                         const struct cb_recap_domain *domain, const char *ret_names[4],
                         uint64_t ret_uj[4])
{
    static const char *const names[] = {"powers", "container", "container_uncertainty",
                                        "container_idle"};
    size_t n = !recap->test.container_id[0] ? 1 : show->policy == CB_IDLE_NONE ? 3 : 4;

    for (size_t i = 0; i < n; i++)
        ret_names[i] = names[i];
    ret_uj[0] = domain ? domain->energy_uj : 0;
    ret_uj[1] = domain ? domain->dynamic_uj : 0;
    ret_uj[2] = domain ? cb_recap_uncertainty(domain) : 0;
    ret_uj[3] = domain ? idle_of(show, domain) : 0;
    return n;
}

static void print_csv_head(const struct show *show, const struct cb_recap *recap)
{
    const char *names[4];
    uint64_t uj[4];
    size_t n = figures_of(show, recap, NULL, names, uj);

    (void)fputs(show->ticks ? "timestamp,name,machine,seconds,source"
                            : "name,machine,test,container_id,begin,end,seconds,covered_seconds,"
                              "cpu_seconds,source",
                stdout);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < show->n_columns; i++)
            (void)printf(",%s_%s_%u", names[k],
                         cb_flat_domain((enum cb_domain)show->columns[i].domain),
                         show->columns[i].socket);
    (void)putchar('\n');
}

static void print_csv_figures(const struct show *show, const struct cb_recap *recap)
{
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < show->n_columns; i++) {
            const struct cb_recap_domain *domain = domain_at(recap, &show->columns[i]);
            const char *names[4];
            uint64_t uj[4];

            if (k >= figures_of(show, recap, domain, names, uj))
                return;
            (void)putchar(',');
            if (domain)
                (void)printf("%" PRIu64 ".%06" PRIu64, uj[k] / 1000000, uj[k] % 1000000);
        }
}

static void print_csv(const struct show *show, const struct cb_recap *recap, const char *begin,
                      const char *end)
{
    const struct cb_recap_phase *phase = &recap->phases[0];

    if (show->rows == 0)
        print_csv_head(show, recap);
    if (show->ticks)
        (void)printf("%s,", end);
    cb_cmd_csv(recap->test.name);
    (void)putchar(',');
    cb_cmd_csv(recap->test.machine);
    if (show->ticks) {
        (void)printf(",%.9f", (double)phase->covered_ns / 1e9);
    } else {
        (void)printf(",%s,%s,%s,%s,%.9f,%.9f,", recap->test.id, recap->test.container_id, begin,
                     end, (double)(phase->end_ns - phase->begin_ns) / 1e9,
                     (double)phase->covered_ns / 1e9);
        if (phase->cpu_ns != CB_STAT_ABSENT)
            (void)printf("%.9f", (double)phase->cpu_ns / 1e9);
    }
    (void)printf(",%s", cb_recap_source(recap));
    print_csv_figures(show, recap);
    (void)putchar('\n');
}

static void set(json_t *row, const char *key, json_t *value)
{
    (void)json_object_set_new(row, key, value);
}

static void print_json(const struct show *show, const struct cb_recap *recap, const char *begin,
                       const char *end)
{
    const struct cb_recap_phase *phase = &recap->phases[0];
    json_t *row = json_object();
    char key[64];

    if (show->ticks)
        set(row, "timestamp", json_string(end));
    set(row, "name", json_string(recap->test.name));
    set(row, "machine", json_string(recap->test.machine));
    if (show->ticks) {
        set(row, "seconds", json_real((double)phase->covered_ns / 1e9));
    } else {
        set(row, "test", json_string(recap->test.id));
        set(row, "container_id", json_string(recap->test.container_id));
        set(row, "begin", json_string(begin));
        set(row, "end", json_string(end));
        set(row, "seconds", json_real((double)(phase->end_ns - phase->begin_ns) / 1e9));
        set(row, "covered_seconds", json_real((double)phase->covered_ns / 1e9));
        if (phase->cpu_ns != CB_STAT_ABSENT)
            set(row, "cpu_seconds", json_real((double)phase->cpu_ns / 1e9));
    }
    set(row, "source", json_string(cb_recap_source(recap)));
    set(row, "idle_policy", json_string(cb_idle_name(show->policy)));
    for (size_t i = 0; i < phase->n_domains; i++) {
        const struct cb_recap_domain *domain = &phase->domains[i];
        const char *names[4];
        uint64_t uj[4];
        size_t n = figures_of(show, recap, domain, names, uj);

        for (size_t k = 0; k < n; k++) {
            (void)snprintf(key, sizeof(key), "%s_%s_%u", names[k],
                           cb_flat_domain((enum cb_domain)domain->domain), domain->socket);
            set(row, key, json_real((double)uj[k] / 1e6));
        }
    }
    (void)fputs(show->rows ? ",\n" : "[\n", stdout);
    (void)json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(row);
}

static void print_table(const struct show *show, const struct cb_recap *recap, const char *begin,
                        const char *end)
{
    const struct cb_recap_phase *phase = &recap->phases[0];

    if (show->rows == 0)
        (void)printf("%-24s %-20s %-12s %9s %-10s %-9s %12s %12s %10s %12s\n",
                     show->ticks ? "END (UTC)" : "BEGIN (UTC)", "NAME", "MACHINE", "SECONDS",
                     "DOMAIN", "SOURCE", "SOCKET J", "CONTAINER J", "+- J", "IDLE SHARE J");
    for (size_t i = 0; i < phase->n_domains; i++) {
        const struct cb_recap_domain *domain = &phase->domains[i];

        (void)printf("%-24s %-20.20s %-12.12s %9.3f %8s/%u %-9s %12.3f", show->ticks ? end : begin,
                     recap->test.name, recap->test.machine, (double)phase->covered_ns / 1e9,
                     cb_domain_name((enum cb_domain)domain->domain), domain->socket,
                     cb_source_name((enum cb_source)domain->source),
                     (double)domain->energy_uj / 1e6);
        if (recap->test.container_id[0])
            (void)printf(" %12.3f %10.3f %12.3f", (double)domain->dynamic_uj / 1e6,
                         (double)cb_recap_uncertainty(domain) / 1e6,
                         (double)idle_of(show, domain) / 1e6);
        (void)putchar('\n');
    }
}

static void print_row(struct show *show, const struct cb_recap *recap)
{
    char begin[32];
    char end[32];

    cb_clock_format_utc(recap->begin_wall_ns, begin);
    cb_clock_format_utc(recap->end_wall_ns, end);
    if (show->config->csv)
        print_csv(show, recap, begin, end);
    else if (show->config->json)
        print_json(show, recap, begin, end);
    else
        print_table(show, recap, begin, end);
    show->rows++;
}

/* ---- runs ---- */

static int take_tick(void *context, const struct cb_recap *tick, struct cb_err *err)
{
    (void)err;
    print_row(context, tick);
    return 0;
}

/* The first pass finds the columns, the second prints. */
static int show_run(struct show *show, const struct cb_store_test *run, bool print,
                    struct cb_err *err)
{
    struct cb_recap recap;
    int r;

    if (print && show->ticks)
        return cb_recap_ticks(show->store, run, take_tick, show, err);
    r = cb_recap_build(show->store, run, &recap, err);
    if (r < 0)
        return r;
    if (print && recap.phases[0].n_domains)
        print_row(show, &recap);
    else
        add_columns(show, &recap);
    cb_recap_clear(&recap);
    return 0;
}

static int show_runs(struct show *show, const struct cb_runs *runs, struct cb_err *err)
{
    int r = 0;

    if (show->config->csv)
        for (size_t i = 0; i < runs->n && r == 0; i++)
            r = show_run(show, &runs->runs[i], false, err);
    for (size_t i = 0; i < runs->n && r == 0; i++)
        r = show_run(show, &runs->runs[i], true, err);
    if (r == 0 && show->config->json)
        (void)puts(show->rows ? "\n]" : "[]");
    else if (r == 0 && show->rows == 0)
        (void)fprintf(stderr, "cbformula: nothing is stored for this name and time\n");
    return r;
}

static int run(struct show *show, const struct cb_runs_query *query, struct cb_err *err)
{
    struct cb_runs runs = {.n = 0};
    int r = cb_state_read(show->config->state_dir, &show->store, err);

    if (r == 0)
        r = cb_runs_find(show->store, query, &runs, err);
    if (r == 0 && runs.n == 0 && query->name)
        r = cb_err_set(err, ENOENT, "no test and no container '%.60s' is stored for this time",
                       query->name);
    if (r == 0)
        r = show_runs(show, &runs, err);
    cb_runs_clear(&runs);
    show->store = cb_store_close(show->store);
    return r;
}

static int print_help(const char *command, const char *text)
{
    (void)printf("usage: cbformula %s [OPTION...] [NAME]\n\n%s", command, text);
    (void)puts("NAME is a test's, or else a container's (its name, cgroup, or at least 8 digits of "
               "its id);\nwithout it the machine's energy is shown, between --from and --to. "
               "Frames at a border are split\npro rata: intervals that touch sum exactly. Domains "
               "other than PKG and DRAM lie inside them:\nnever add those up.\n");
    cb_config_help(stdout, options, NULL);
    return 0;
}

static int command(int argc, char **argv, struct show *show, const char *name, const char *text)
{
    struct config config = {.help = false};
    struct cb_runs_query query = {.name = NULL};
    struct cb_err err = {0};
    int r = cb_cmd_parse(options, argc, argv, &config, &query.name, &err);

    show->config = &config;
    if (r == 0 && config.help)
        return print_help(name, text);
    if (r == 0)
        r = cb_cmd_idle(config.idle, &show->policy, &err);
    if (r == 0)
        r = cb_cmd_form(config.csv, config.json, &err);
    if (r == 0)
        r = cb_cmd_times(config.from, config.to, &query.from_wall_ns, &query.to_wall_ns, &err);
    if (r == 0 && !query.name && !config.from && !config.to)
        r = cb_err_set(&err, EINVAL, "name a test or a container, or give --from and --to");
    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    query.machine = config.machine;
    query.last = (unsigned)config.last;
    return run(show, &query, &err) < 0 ? cb_cmd_fail(CB_CMD_FAILED, &err) : 0;
}

int cb_cmd_power(int argc, char **argv)
{
    struct show show = {.ticks = true};

    return command(argc, argv, &show, "power",
                   "Joules tick by tick, of the machine's sockets and of one container.\n\n");
}

int cb_cmd_energy(int argc, char **argv)
{
    struct show show = {.ticks = false};

    return command(argc, argv, &show, "energy",
                   "Joules of every run of a test or container, summed up.\n\n");
}
