/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_query.c - `cbformula query`: stored power, tick by tick, as a table, CSV or JSON. Reads the
 * database beside a running server. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/cmd.h"
#include "formula/cmd_options.h"
#include "formula/pages.h"
#include "formula/power.h"
#include "formula/recap.h"
#include "formula/usage.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/schema.h"

/* The columns of --metrics. */
#define USAGE_FIRST CB_SCHEMA_CPU_USAGE_NS
#define USAGE_LAST CB_SCHEMA_IO_PRESSURE_FULL_NS

struct config {
    const char *state_dir;
    const char *machine;
    const char *container;
    const char *from;
    const char *to;
    uint64_t last_ns;
    const char *idle;
    bool metrics;
    bool csv;
    bool json;
    bool help;
};

#define AT(member) .offset = offsetof(struct config, member)

static const struct cb_opt options[] = {
    CB_CMD_STATE_DIR(struct config),
    CB_CMD_MACHINE(struct config),
    {.key = "container",
     .type = CB_OPT_STRING,
     AT(container),
     .arg = "NAME|ID",
     .help = "only this container: its name, or at least 8 digits of its id"},
    {.key = "last",
     .type = CB_OPT_DURATION,
     AT(last_ns),
     .def = "60s",
     .min = 1,
     .max = 87600 * 3600e9,
     .arg = "DURATION",
     .help = "how far to look back from --to, unless --from is given"},
    CB_CMD_FROM(struct config),
    CB_CMD_TO(struct config),
    CB_CMD_IDLE(struct config),
    {.key = "metrics",
     .type = CB_OPT_BOOL,
     AT(metrics),
     .help = "CPU, memory, I/O, network and pressure of containers instead of power"},
    CB_CMD_CSV(struct config),
    CB_CMD_JSON(struct config),
    CB_CMD_HELP(struct config),
    {.key = NULL},
};

struct query {
    const struct config *config;
    enum cb_idle_policy policy;
    uint64_t from_wall_ns, to_wall_ns;
    struct cb_store *store;
    struct cb_names names;
    struct cb_result result;
    const char *machine;
    int64_t last_boot; /* of the frame before: for the time that no frame covers */
    uint64_t last_t1_ns, gap_ns;
    size_t rows;
};

/* One part of one domain of one tick. */
struct row {
    const char *part; /* "container", "system", "idle", "unattributed" */
    const char *container_id;
    const char *name;
    uint64_t energy_uj, idle_share_uj, uncertainty_uj;
};

/* ---- times ---- */

static int set_times(struct query *query, struct cb_err *err)
{
    const struct config *config = query->config;
    /* Another machine's clock may be a little ahead. */
    uint64_t now = cb_clock_wall_ns() + (config->to ? 0 : CB_NS_PER_S);
    int r = cb_cmd_time("to", config->to, now, &query->to_wall_ns, err);
    uint64_t from = query->to_wall_ns > config->last_ns ? query->to_wall_ns - config->last_ns : 0;

    if (r == 0)
        r = cb_cmd_time("from", config->from, from, &query->from_wall_ns, err);
    if (r == 0 && query->from_wall_ns >= query->to_wall_ns)
        r = cb_err_set(err, EINVAL, "option --from: does not lie before --to");
    return r;
}

/* ---- output ---- */

static void print_csv(const struct query *query, const struct cb_result_domain *domain,
                      const char *when, const struct row *row)
{
    double seconds = (double)(query->result.t1_ns - query->result.t0_ns) / 1e9;

    if (query->rows == 0)
        (void)puts("time,machine,seconds,socket,domain,source,part,container_id,name,energy_uj,"
                   "idle_share_uj,uncertainty_uj");
    (void)printf("%s,", when);
    cb_cmd_csv(query->machine);
    (void)printf(",%.9f,%u,%s,%s,%s,%s,", seconds, domain->socket,
                 cb_domain_name((enum cb_domain)domain->domain),
                 cb_source_name((enum cb_source)domain->source), row->part, row->container_id);
    cb_cmd_csv(row->name);
    (void)printf(",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", row->energy_uj, row->idle_share_uj,
                 row->uncertainty_uj);
}

static void print_json(const struct query *query, const struct cb_result_domain *domain,
                       const char *when, const struct row *row)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:f, s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "time", when, "machine",
        query->machine, "seconds", (double)(query->result.t1_ns - query->result.t0_ns) / 1e9,
        "socket", domain->socket, "domain", cb_domain_name((enum cb_domain)domain->domain),
        "source", cb_source_name((enum cb_source)domain->source), "part", row->part, "container_id",
        row->container_id, "name", row->name, "energy_uj", (json_int_t)row->energy_uj,
        "idle_share_uj", (json_int_t)row->idle_share_uj, "uncertainty_uj",
        (json_int_t)row->uncertainty_uj);

    (void)fputs(query->rows ? ",\n" : "[\n", stdout);
    (void)json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(json);
}

static void print_table(const struct query *query, const struct cb_result_domain *domain,
                        const char *when, const struct row *row)
{
    double seconds = (double)(query->result.t1_ns - query->result.t0_ns) / 1e9;
    const char *name = row->name[0] ? row->name : row->container_id;

    if (query->rows == 0)
        (void)printf("%-24s %-12s %-10s %-9s %-24s %11s %10s %11s\n", "TIME (UTC)", "MACHINE",
                     "DOMAIN", "SOURCE", "PART", "WATTS", "+-", "IDLE SHARE W");
    (void)printf("%-24s %-12s %8s/%u %-9s %-24.24s %11.3f %10.3f %11.3f\n", when, query->machine,
                 cb_domain_name((enum cb_domain)domain->domain), domain->socket,
                 cb_source_name((enum cb_source)domain->source),
                 strcmp(row->part, "container") == 0 ? name : row->part,
                 (double)row->energy_uj / 1e6 / seconds,
                 (double)row->uncertainty_uj / 1e6 / seconds,
                 (double)row->idle_share_uj / 1e6 / seconds);
}

static void print_row(struct query *query, const struct cb_result_domain *domain,
                      const struct row *row)
{
    char when[32];

    cb_clock_format_utc(query->result.wall_ns, when);
    if (query->config->csv)
        print_csv(query, domain, when, row);
    else if (query->config->json)
        print_json(query, domain, when, row);
    else
        print_table(query, domain, when, row);
    query->rows++;
}

/* ---- rows ---- */

static int print_containers(struct query *query, int64_t start, size_t d, struct cb_err *err)
{
    const struct cb_result *result = &query->result;
    const struct cb_result_domain *domain = &result->domains[d];

    for (size_t i = 0; i < result->n_targets; i++) {
        const struct cb_share *share = &result->shares[d * result->n_targets + i];
        const struct cb_store_target *target;
        int r = cb_names_get(&query->names, start, result->target_ids[i], &target, err);

        if (r < 0)
            return r;
        if (query->config->container && !cb_names_match(target, query->config->container))
            continue;
        print_row(query, domain,
                  &(struct row){
                      .part = "container",
                      .container_id = target->container_id,
                      .name = target->name,
                      .energy_uj = share->dynamic_uj,
                      .idle_share_uj = cb_share_idle(query->policy, result, d, i),
                      .uncertainty_uj = cb_share_uncertainty(domain, share),
                  });
    }
    return 0;
}

static void print_rest(struct query *query, const struct cb_result_domain *domain)
{
    const struct row rows[] = {
        {"system", "", "", domain->system_uj, 0,
         cb_result_halfwidth(domain->system_param_uj, domain->system_noise_uj, domain->energy_uj)},
        {"idle", "", "", domain->idle_uj, 0,
         cb_result_halfwidth(domain->idle_param_uj, domain->idle_noise_uj, domain->energy_uj)},
        {"unattributed", "", "", domain->unattributed_uj, 0, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        print_row(query, domain, &rows[i]);
}

static int print_frame(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct query *query = context;
    int r = cb_result_unpack(frame->result, frame->result_size, &query->result, err);

    if (frame->boot == query->last_boot && frame->t0_ns > query->last_t1_ns)
        query->gap_ns += frame->t0_ns - query->last_t1_ns;
    query->last_boot = frame->boot;
    query->last_t1_ns = frame->t1_ns;
    for (size_t d = 0; d < query->result.n_domains && r == 0; d++) {
        r = print_containers(query, frame->start, d, err);
        if (r == 0 && !query->config->container)
            print_rest(query, &query->result.domains[d]);
    }
    return r;
}

/* ---- what containers use besides energy ---- */

/* One row for each container: JSON leaves out what is not known, CSV leaves it empty. */
static void print_usage_json(struct query *query, json_t *row, const struct cb_usage *usage,
                             size_t t, const char *names)
{
    char name[CB_USAGE_NAMES_SIZE];

    for (size_t c = 0; c < usage->n_columns; c++)
        if (cb_usage_at(usage, c, t) != CB_STAT_ABSENT &&
            cb_usage_name(names, c, name, sizeof(name)))
            (void)json_object_set_new(row, name,
                                      json_integer((json_int_t)cb_usage_at(usage, c, t)));
    (void)fputs(query->rows ? ",\n" : "[\n", stdout);
    (void)json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
}

static void print_usage_csv(const struct query *query, const char *when, double seconds,
                            const struct cb_store_target *target, const struct cb_usage *usage,
                            size_t t, const char *names)
{
    char name[CB_USAGE_NAMES_SIZE];

    if (query->rows == 0) {
        (void)fputs("time,machine,seconds,container_id,name", stdout);
        for (size_t i = USAGE_FIRST; i <= USAGE_LAST; i++)
            (void)printf(",%s", cb_schema((enum cb_schema_id)i)->name);
        (void)putchar('\n');
    }
    (void)printf("%s,", when);
    cb_cmd_csv(query->machine);
    (void)printf(",%.9f,%s,", seconds, target->container_id);
    cb_cmd_csv(target->name);
    for (size_t i = USAGE_FIRST; i <= USAGE_LAST; i++) {
        (void)putchar(',');
        for (size_t c = 0; c < usage->n_columns; c++)
            if (cb_usage_name(names, c, name, sizeof(name)) &&
                strcmp(name, cb_schema((enum cb_schema_id)i)->name) == 0 &&
                cb_usage_at(usage, c, t) != CB_STAT_ABSENT)
                (void)printf("%" PRIu64, cb_usage_at(usage, c, t));
    }
    (void)putchar('\n');
}

static int print_usage_row(struct query *query, const struct cb_store_usage *row,
                           const struct cb_usage *usage, size_t t, struct cb_err *err)
{
    double seconds = (double)(row->t1_ns - row->t0_ns) / 1e9;
    const struct cb_store_target *target;
    char when[32];
    json_t *json;
    int r = cb_names_get(&query->names, row->start, usage->targets[t], &target, err);

    if (r < 0 || (query->config->container && !cb_names_match(target, query->config->container)))
        return r;
    cb_clock_format_utc(row->wall_ns, when);
    if (query->config->json) {
        json = json_pack("{s:s, s:s, s:f, s:s, s:s}", "time", when, "machine", query->machine,
                         "seconds", seconds, "container_id", target->container_id, "name",
                         target->name);
        if (!json)
            return cb_err_set(err, ENOMEM, "out of memory");
        print_usage_json(query, json, usage, t, row->names);
        json_decref(json);
    } else {
        print_usage_csv(query, when, seconds, target, usage, t, row->names);
    }
    query->rows++;
    return 0;
}

static int print_usage(void *context, const struct cb_store_usage *row, struct cb_err *err)
{
    struct query *query = context;
    struct cb_usage usage = {0};
    int r = cb_usage_unpack(row->bytes, row->size, &usage, err);

    for (size_t t = 0; t < usage.n_targets && r == 0; t++)
        if (usage.targets[t]) /* 0 is the machine */
            r = print_usage_row(query, row, &usage, t, err);
    cb_usage_clear(&usage);
    return r;
}

struct walker {
    struct query *query;
    struct cb_err *err;
    size_t machines;
};

static int print_machine(void *context, const struct cb_store_machine *machine)
{
    struct walker *walker = context;
    struct query *query = walker->query;
    int r;

    if (query->config->machine && strcmp(query->config->machine, machine->name) != 0)
        return 0;
    walker->machines++;
    query->machine = machine->name;
    if (query->config->metrics)
        return cb_pages_usage(query->store, machine->id, query->from_wall_ns, query->to_wall_ns,
                              print_usage, query, walker->err);
    query->last_boot = 0;
    query->gap_ns = 0;
    r = cb_pages_frames(query->store, machine->id, query->from_wall_ns, query->to_wall_ns,
                        print_frame, query, walker->err);
    if (r == 0 && query->gap_ns)
        (void)fprintf(stderr,
                      "cbformula: machine %s: %.3f s of this time are in no frame: their energy is "
                      "not known and not in the figures\n",
                      query->machine, (double)query->gap_ns / 1e9);
    return r;
}

static int run(struct query *query, struct cb_err *err)
{
    struct walker walker = {.query = query, .err = err};
    const struct config *config = query->config;
    int r = cb_state_read(config->state_dir, &query->store, err);

    if (r < 0)
        return r;
    query->names.store = query->store;
    r = cb_pages_machines(query->store, print_machine, &walker, err);
    if (r == 0 && config->machine && walker.machines == 0)
        r = cb_err_set(err, ENOENT, "no machine '%.60s' is stored", config->machine);
    else if (r == 0 && config->container && query->rows == 0)
        r = cb_err_set(err, ENOENT, "no container '%.60s' is stored for this time",
                       config->container);
    else if (r == 0 && query->rows == 0)
        (void)fprintf(stderr, "cbformula: nothing is stored for this time\n");
    if (r == 0 && config->json)
        (void)puts(query->rows ? "\n]" : "[]");
    query->store = cb_store_close(query->store);
    cb_names_clear(&query->names);
    cb_result_clear(&query->result);
    return r;
}

int cb_cmd_query(int argc, char **argv)
{
    struct config config = {.help = false};
    struct query query = {.config = &config};
    struct cb_err err = {0};
    const char *argument = NULL;
    int r = cb_cmd_parse(options, argc, argv, &config, &argument, &err);

    if (r == 0 && argument)
        r = cb_err_set(&err, EINVAL, "unexpected argument '%.60s', see query --help", argument);
    if (r == 0)
        r = cb_cmd_idle(config.idle, &query.policy, &err);
    if (r == 0)
        r = cb_cmd_form(config.csv, config.json, &err);
    if (r == 0)
        r = set_times(&query, &err);
    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    if (config.help) {
        (void)puts("usage: cbformula query [OPTION...]\n\nPower of every tick: containers, system, "
                   "idle and what could not be assigned. The energies of\none tick, socket and "
                   "domain sum exactly to what was counted; idle shares are part of idle.\n"
                   "Domains other than package and dram lie inside them: never add those up.\n\n"
                   "With --metrics what containers use besides, at its own period: CSV, or JSON "
                   "with --json.\nCounters are over \"seconds\", gauges of the end.\n");
        cb_config_help(stdout, options, NULL);
        return 0;
    }
    return run(&query, &err) < 0 ? cb_cmd_fail(CB_CMD_FAILED, &err) : 0;
}
