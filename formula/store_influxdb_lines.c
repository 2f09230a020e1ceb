/* SPDX-License-Identifier: Apache-2.0 */
/* store_influxdb_lines.c - a row as lines, in our form and in those of PowerAPI and cAdvisor. See
 * store_influxdb.h. */
#include <errno.h>
#include <string.h>

#include "formula/line.h"
#include "formula/map.h"
#include "formula/store_influxdb.h"
#include "lib/err.h"
#include "lib/fnv.h"

#define SUMS_MAX 20000
#define PASSES_MS 100 /* the shortest resolution has as many milliseconds */

int cb_influxdb_formats_parse(const char *text, unsigned *ret_formats, struct cb_err *err)
{
    static const struct {
        const char *name;
        unsigned format;
    } all[] = {{"cbwatts", CB_INFLUXDB_CBWATTS},
               {"powerapi", CB_INFLUXDB_POWERAPI},
               {"cadvisor", CB_INFLUXDB_CADVISOR}};
    unsigned formats = 0;

    for (;;) {
        size_t n = strcspn(text, ",");
        unsigned one = 0;

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
            if (strlen(all[i].name) == n && strncmp(all[i].name, text, n) == 0)
                one = all[i].format;
        if (!one)
            return cb_err_set(err, EINVAL,
                              "'%.20s' is not cbwatts, powerapi or cadvisor, or some of them "
                              "separated by commas",
                              text);
        formats |= one;
        if (!text[n])
            break;
        text += n + 1;
    }
    *ret_formats = formats;
    return 0;
}

static const char *name_of(enum cb_schema_id id)
{
    return cb_schema(id)->name;
}

static const char *id_of(const struct cb_stream_target *target)
{
    return target->text.container_id[0] ? target->text.container_id : target->identity;
}

/* A time that comes again is told apart by milliseconds, which is all that some servers keep, and
 * every PASSES_MS times by nanoseconds. */
static int64_t time_of(const struct cb_stream_bin *bin)
{
    return bin->wall_ns + (int64_t)(bin->again % PASSES_MS) * 1000000 + bin->again / PASSES_MS;
}

/* ---- ours ---- */

static void domain_tags(struct cb_line *line, const struct cb_stream_domain *domain)
{
    cb_line_tag(line, "domain", cb_domain_name((enum cb_domain)domain->domain));
}

static void pack_node(const struct cb_stream_bin *bin, size_t d, struct cb_batch *batch)
{
    const struct cb_stream_domain *domain = &bin->domains[d];
    struct cb_line line;

    cb_line_begin(&line, batch, cb_schema_measurement(CB_SCHEMA_NODE_DOMAIN));
    domain_tags(&line, domain);
    cb_line_tag(&line, "machine", bin->machine);
    cb_line_tag_number(&line, "socket", domain->socket);
    cb_line_tag(&line, "source", cb_source_name((enum cb_source)domain->source));
    cb_line_integer(&line, name_of(CB_SCHEMA_ENERGY_UJ), domain->energy_uj);
    cb_line_integer(&line, name_of(CB_SCHEMA_IDLE_UJ), domain->idle_uj);
    cb_line_integer(&line, name_of(CB_SCHEMA_SYSTEM_UJ), domain->system_uj);
    cb_line_integer(&line, name_of(CB_SCHEMA_UNATTRIBUTED_UJ), domain->unattributed_uj);
    cb_line_integer(&line, name_of(CB_SCHEMA_SOURCE_UNCERTAINTY_UJ), (uint64_t)domain->source_uj);
    cb_line_integer(&line, name_of(CB_SCHEMA_COVERED_NS), bin->covered_ns);
    cb_line_end(&line, time_of(bin));
}

static void target_tags(struct cb_line *line, const struct cb_stream_target *target)
{
    cb_line_tag(line, name_of(CB_SCHEMA_CONTAINER_ID), id_of(target));
    cb_line_tag(line, name_of(CB_SCHEMA_CONTAINER_NAME), target->text.name);
}

static void pack_share(const struct cb_stream_bin *bin, size_t t, size_t d, struct cb_batch *batch)
{
    const struct cb_stream_target *target = bin->targets[t];
    const struct cb_stream_domain *domain = &bin->domains[d];
    const struct cb_stream_share *share = cb_stream_share(bin, t, d);
    struct cb_line line;

    cb_line_begin(&line, batch, cb_schema_measurement(CB_SCHEMA_CONTAINER_DOMAIN));
    target_tags(&line, target);
    domain_tags(&line, domain);
    cb_line_tag(&line, name_of(CB_SCHEMA_IMAGE), target->text.image);
    cb_line_tag(&line, "machine", bin->machine);
    cb_line_tag_number(&line, "socket", domain->socket);
    cb_line_tag(&line, "source", cb_source_name((enum cb_source)domain->source));
    cb_line_integer(&line, name_of(CB_SCHEMA_DYNAMIC_UJ), share->dynamic_uj);
    cb_line_integer(&line, name_of(CB_SCHEMA_UNCERTAINTY_UJ),
                    cb_stream_uncertainty_uj(share, domain));
    cb_line_end(&line, time_of(bin));
}

static void pack_usage(const struct cb_stream_bin *bin, size_t t, struct cb_batch *batch)
{
    const struct cb_stream_target *target = bin->targets[t];
    struct cb_line line;

    cb_line_begin(&line, batch, cb_schema_measurement(CB_SCHEMA_CONTAINER));
    target_tags(&line, target);
    cb_line_tag(&line, name_of(CB_SCHEMA_IMAGE), target->text.image);
    cb_line_tag(&line, "machine", bin->machine);
    if (target->cpu_ns != CB_STAT_ABSENT)
        cb_line_integer(&line, name_of(CB_SCHEMA_CPU_NS), target->cpu_ns);
    for (unsigned m = 0; target->has_metrics && m < CB_STREAM_METRICS; m++)
        if (target->metrics[m] != CB_STAT_ABSENT)
            cb_line_integer(&line, name_of((enum cb_schema_id)(CB_STREAM_METRIC_FIRST + m)),
                            target->metrics[m]);
    cb_line_end(&line, time_of(bin));
}

static void pack_cbwatts(const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    for (size_t d = 0; d < bin->n_domains; d++)
        pack_node(bin, d, batch);
    for (size_t t = 0; t < bin->n_targets; t++) {
        for (size_t d = 0; d < bin->n_domains; d++)
            pack_share(bin, t, d, batch);
        pack_usage(bin, t, batch);
    }
}

/* ---- PowerAPI's: watts; its panels know the targets rapl and global and take every other one for
 * a container, and do not look at the scope: dram has a measurement of its own ---- */

static double watts(const struct cb_stream_bin *bin, uint64_t uj)
{
    return (double)uj * 1e3 / (double)bin->covered_ns;
}

static void power_line(const struct cb_stream_bin *bin, const struct cb_stream_domain *domain,
                       const char *target, const char *id, uint64_t uj, double ratio,
                       struct cb_batch *batch)
{
    bool dram = domain->domain == CB_DOMAIN_DRAM;
    struct cb_line line;

    cb_line_begin(&line, batch, dram ? "power_consumption_dram" : "power_consumption");
    cb_line_tag(&line, name_of(CB_SCHEMA_CONTAINER_ID), id);
    cb_line_tag(&line, "scope", dram ? "dram" : "cpu");
    cb_line_tag(&line, "sensor", bin->machine);
    cb_line_tag_number(&line, "socket", domain->socket);
    cb_line_tag(&line, "target", target);
    cb_line_double(&line, "power", watts(bin, uj));
    cb_line_double(&line, "ratio", ratio);
    cb_line_text(&line, "formula", "cbwatts");
    cb_line_text(&line, "source", cb_source_name((enum cb_source)domain->source));
    cb_line_end(&line, time_of(bin));
}

/* What is neither a container nor the machine's total. */
static void power_rest(const struct cb_stream_bin *bin, const struct cb_stream_domain *domain,
                       struct cb_batch *batch)
{
    struct cb_line line;

    cb_line_begin(&line, batch, "power_rest");
    cb_line_tag(&line, "scope", domain->domain == CB_DOMAIN_DRAM ? "dram" : "cpu");
    cb_line_tag(&line, "sensor", bin->machine);
    cb_line_tag_number(&line, "socket", domain->socket);
    cb_line_double(&line, "idle", watts(bin, domain->idle_uj));
    cb_line_double(&line, "system", watts(bin, domain->system_uj));
    cb_line_double(&line, "unattributed", watts(bin, domain->unattributed_uj));
    cb_line_end(&line, time_of(bin));
}

static void pack_powerapi(const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    for (size_t d = 0; d < bin->n_domains; d++) {
        const struct cb_stream_domain *domain = &bin->domains[d];
        uint64_t global =
            domain->energy_uj - domain->idle_uj - domain->system_uj - domain->unattributed_uj;

        if (!cb_domain_is_top((enum cb_domain)domain->domain))
            continue;
        power_line(bin, domain, "rapl", "", domain->energy_uj, 1, batch);
        power_line(bin, domain, "global", "", global, 1, batch);
        power_rest(bin, domain, batch);
        for (size_t t = 0; t < bin->n_targets; t++) {
            const struct cb_stream_target *target = bin->targets[t];
            uint64_t uj = cb_stream_share(bin, t, d)->dynamic_uj;

            power_line(bin, domain, target->text.name[0] ? target->text.name : target->identity,
                       id_of(target), uj, global ? (double)uj / (double)global : 0, batch);
        }
    }
}

/* ---- cAdvisor's: one measurement a metric, counters since the container was first seen ---- */

static const struct {
    const char *measurement;
    enum cb_schema_id id;
} cadvisor[] = {
    {"cpu_usage_total", CB_SCHEMA_CPU_NS},
    {"cpu_usage_user", CB_SCHEMA_CPU_USER_NS},
    {"cpu_usage_system", CB_SCHEMA_CPU_SYSTEM_NS},
    {"memory_usage", CB_SCHEMA_MEMORY_BYTES},
    {"memory_max_usage", CB_SCHEMA_MEMORY_PEAK_BYTES},
    {"memory_cache", CB_SCHEMA_MEMORY_FILE_BYTES},
    {"memory_rss", CB_SCHEMA_MEMORY_ANON_BYTES},
    {"memory_swap", CB_SCHEMA_MEMORY_SWAP_BYTES},
    {"rx_bytes", CB_SCHEMA_NET_RX_BYTES},
    {"tx_bytes", CB_SCHEMA_NET_TX_BYTES},
};
#define N_CADVISOR (sizeof(cadvisor) / sizeof(cadvisor[0]))

struct sum {
    uint64_t values[N_CADVISOR];
};

struct cb_influxdb_sums {
    size_t n;
    struct sum *all[SUMS_MAX];
    struct cb_map by_hash;
};

struct cb_influxdb_sums *cb_influxdb_sums_new(void)
{
    return calloc(1, sizeof(struct cb_influxdb_sums));
}

static void forget_sums(struct cb_influxdb_sums *sums)
{
    for (size_t i = 0; i < sums->n; i++)
        free(sums->all[i]);
    sums->n = 0;
    cb_map_clear(&sums->by_hash);
}

struct cb_influxdb_sums *cb_influxdb_sums_free(struct cb_influxdb_sums *sums)
{
    if (sums)
        forget_sums(sums);
    free(sums);
    return NULL;
}

/* When there are too many, all begin anew: a counter that goes back is a restart to its readers. */
static struct sum *sum_of(struct cb_influxdb_sums *sums, const char *machine, const char *id)
{
    uint64_t hash = cb_fnv_text(cb_fnv_text(CB_FNV_BEGIN, machine) * 31, id);
    uint64_t known;
    struct sum *sum;

    if (cb_map_get(&sums->by_hash, hash, &known))
        return sums->all[known];
    if (sums->n == SUMS_MAX)
        forget_sums(sums);
    sum = calloc(1, sizeof(*sum));
    if (!sum || cb_map_put(&sums->by_hash, hash, sums->n) < 0) {
        free(sum);
        return NULL;
    }
    sums->all[sums->n++] = sum;
    return sum;
}

static uint64_t metric_of(const struct cb_stream_target *target, enum cb_schema_id id)
{
    if (id == CB_SCHEMA_CPU_NS)
        return target->cpu_ns;
    return target->has_metrics ? target->metrics[id - CB_STREAM_METRIC_FIRST] : CB_STAT_ABSENT;
}

static void pack_cadvisor(struct cb_influxdb_sums *sums, const struct cb_stream_bin *bin,
                          struct cb_batch *batch)
{
    for (size_t t = 0; t < bin->n_targets; t++) {
        const struct cb_stream_target *target = bin->targets[t];
        struct sum *sum = sum_of(sums, bin->machine, target->identity);

        if (!sum) {
            batch->failed = true;
            return;
        }
        for (size_t i = 0; i < N_CADVISOR; i++) {
            uint64_t value = metric_of(target, cadvisor[i].id);
            struct cb_line line;

            if (value == CB_STAT_ABSENT)
                continue;
            if (cb_schema(cadvisor[i].id)->kind == CB_SCHEMA_COUNTER)
                value = sum->values[i] += value;
            cb_line_begin(&line, batch, cadvisor[i].measurement);
            target_tags(&line, target);
            cb_line_tag(&line, "machine", bin->machine);
            cb_line_integer(&line, "value", value);
            cb_line_end(&line, time_of(bin));
        }
    }
}

void cb_influxdb_pack(unsigned formats, struct cb_influxdb_sums *sums,
                      const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    if (formats & CB_INFLUXDB_CBWATTS)
        pack_cbwatts(bin, batch);
    if (formats & CB_INFLUXDB_POWERAPI)
        pack_powerapi(bin, batch);
    if (formats & CB_INFLUXDB_CADVISOR)
        pack_cadvisor(sums, bin, batch);
}
