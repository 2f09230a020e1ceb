/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_query.c - `cbformula query`: stored power, tick by tick, as a table, CSV or JSON. Reads the
 * database beside a running server. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formula/cmd.h"
#include "formula/power.h"
#include "formula/recap.h"
#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/parse.h"

struct config {
    const char *state_dir;
    const char *machine;
    const char *container;
    const char *from;
    const char *to;
    uint64_t last_ns;
    const char *idle;
    bool csv;
    bool json;
    bool help;
};

#define AT(member) .offset = offsetof(struct config, member)

static const struct cb_opt options[] = {
    {.key = "state-dir",
     .type = CB_OPT_STRING,
     AT(state_dir),
     .def = CB_DEFAULT_FORMULA_STATE,
     .arg = "DIR",
     .env = "CBFORMULA_STATE_DIR",
     .help = "the server's directory"},
    {.key = "machine",
     .type = CB_OPT_STRING,
     AT(machine),
     .arg = "NAME",
     .help = "only this machine"},
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
    {.key = "from",
     .type = CB_OPT_STRING,
     AT(from),
     .arg = "TIME",
     .help = "2026-11-22T14:00:00Z (UTC) or seconds since 1970"},
    {.key = "to",
     .type = CB_OPT_STRING,
     AT(to),
     .arg = "TIME",
     .help = "the same; now, when it is not given"},
    {.key = "idle",
     .type = CB_OPT_STRING,
     AT(idle),
     .def = "none",
     .arg = "POLICY",
     .help = "what to show as a container's share of the idle energy: none, proportional, equal"},
    {.key = "csv", .type = CB_OPT_BOOL, AT(csv), .help = "comma separated values"},
    {.key = "json", .type = CB_OPT_BOOL, AT(json), .help = "a JSON array"},
    {.key = "help", .short_key = 'h', .type = CB_OPT_BOOL, AT(help), .help = "this text"},
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

static int parse_time(const char *text, uint64_t *ret_wall_ns)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"};
    double seconds;

    if (cb_parse_double(text, &seconds) == 0 && seconds >= 0 && seconds < 9e9) {
        *ret_wall_ns = (uint64_t)(seconds * 1e9);
        return 0;
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm tm = {.tm_mday = 0};
        const char *end = strptime(text, forms[i], &tm);
        time_t t = end && !*end ? timegm(&tm) : -1;

        if (t >= 0) {
            *ret_wall_ns = (uint64_t)t * CB_NS_PER_S;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_times(struct query *query, struct cb_err *err)
{
    const struct config *config = query->config;

    query->to_wall_ns = cb_clock_wall_ns();
    if (config->to && parse_time(config->to, &query->to_wall_ns) < 0)
        return cb_err_set(err, EINVAL,
                          "option --to: '%.40s' is not a time such as 2026-11-22T14:00:00Z",
                          config->to);
    query->from_wall_ns =
        query->to_wall_ns > config->last_ns ? query->to_wall_ns - config->last_ns : 0;
    if (!config->to)
        query->to_wall_ns += CB_NS_PER_S; /* another machine's clock may be a little ahead */
    if (config->from && parse_time(config->from, &query->from_wall_ns) < 0)
        return cb_err_set(err, EINVAL,
                          "option --from: '%.40s' is not a time such as "
                          "2026-11-22T14:00:00Z",
                          config->from);
    if (query->from_wall_ns >= query->to_wall_ns)
        return cb_err_set(err, EINVAL, "option --from: lies after --to");
    return 0;
}

/* ---- output ---- */

/* A field of CSV: quoted when it must be. */
static void csv_text(const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        (void)fputs(text, stdout);
        return;
    }
    (void)putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            (void)putchar('"');
        (void)putchar(*text);
    }
    (void)putchar('"');
}

static void print_csv(const struct query *query, const struct cb_result_domain *domain,
                      const char *when, const struct row *row)
{
    double seconds = (double)(query->result.t1_ns - query->result.t0_ns) / 1e9;

    if (query->rows == 0)
        (void)puts("time,machine,seconds,socket,domain,source,part,container_id,name,energy_uj,"
                   "idle_share_uj,uncertainty_uj");
    (void)printf("%s,", when);
    csv_text(query->machine);
    (void)printf(",%.9f,%u,%s,%s,%s,%s,", seconds, domain->socket,
                 cb_domain_name((enum cb_domain)domain->domain),
                 cb_source_name((enum cb_source)domain->source), row->part, row->container_id);
    csv_text(row->name);
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

    for (size_t d = 0; d < query->result.n_domains && r == 0; d++) {
        r = print_containers(query, frame->start, d, err);
        if (r == 0 && !query->config->container)
            print_rest(query, &query->result.domains[d]);
    }
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

    if (query->config->machine && strcmp(query->config->machine, machine->name) != 0)
        return 0;
    walker->machines++;
    query->machine = machine->name;
    return cb_store_frames_by_wall(query->store, machine->id, query->from_wall_ns,
                                   query->to_wall_ns, print_frame, query, walker->err);
}

static int run(struct query *query, struct cb_err *err)
{
    struct walker walker = {.query = query, .err = err};
    int r = set_times(query, err);

    if (r == 0)
        r = cb_state_read(query->config->state_dir, &query->store, err);
    if (r < 0)
        return r;
    query->names.store = query->store;
    r = cb_store_machines(query->store, print_machine, &walker, err);
    if (r == 0 && query->config->json)
        (void)puts(query->rows ? "\n]" : "[]");
    if (r == 0 && query->config->machine && walker.machines == 0)
        r = cb_err_set(err, ENOENT, "no machine '%.60s' is stored", query->config->machine);
    else if (r == 0 && query->rows == 0)
        (void)fprintf(stderr, "cbformula: no power is stored for this time\n");
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
    int next = 1;
    int r = cb_config_parse(options, NULL, argc, argv, &config, &next, &err);

    if (r == 0 && next < argc)
        r = cb_err_set(&err, EINVAL, "unexpected argument '%.60s', see query --help", argv[next]);
    if (r == 0 && cb_idle_parse(config.idle, &query.policy) < 0)
        r = cb_err_set(&err, EINVAL, "option --idle: '%.20s' is none of none, proportional, equal",
                       config.idle);
    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    if (config.help) {
        (void)puts("usage: cbformula query [OPTION...]\n\nPower of every tick: containers, system, "
                   "idle and what could not be assigned. The energies of\none tick, socket and "
                   "domain sum exactly to what was counted; idle shares are part of idle.\n"
                   "Domains other than package and dram lie inside them: never add those up.\n");
        cb_config_help(stdout, options, NULL);
        return 0;
    }
    return run(&query, &err) < 0 ? cb_cmd_fail(CB_CMD_FAILED, &err) : 0;
}
