/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_metrics.c - /metrics in the Prometheus text format, version 0.0.4.
 *
 * Names and texts are those of lib/schema. Every family is written into a stream of its own while
 * the sums are walked once, so that the figures of one scrape belong together: node energy = idle +
 * system + unattributed + containers. A container that is dead for five minutes is dropped, and its
 * energy with it; node counters go on.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formula/http_private.h"
#include "formula/store_stream.h"
#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/schema.h"

/* Kepler's names follow ours. */
#define FAMILIES (2 * CB_SCHEMA_COUNT)
#define KEPLER(id) (CB_SCHEMA_COUNT + (size_t)(id))

struct page {
    unsigned names;
    FILE *out[FAMILIES]; /* NULL: not written */
    char *text[FAMILIES];
    size_t size[FAMILIES];
    uint64_t now_wall_ns;
    char last_identity[CB_STORE_TEXT_SIZE]; /* of the series whose info was written */
};

int cb_metrics_names_parse(const char *text, unsigned *ret_names, struct cb_err *err)
{
    static const char *const names[] = {"cbwatts", "kepler", "both"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_names = i + 1; /* both is the two bits */
            return 0;
        }
    return cb_err_set(err, EINVAL, "'%.20s' is not cbwatts, kepler or both", text);
}

/* ---- lines ---- */

static void label(FILE *out, const char *separator, const char *key, const char *value)
{
    (void)fprintf(out, "%s%s=\"", separator, key);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            (void)fputc('\\', out);
        if (*value == '\n')
            (void)fputs("\\n", out);
        else
            (void)fputc(*value, out);
    }
    (void)fputc('"', out);
}

static void machine_line(const struct page *page, enum cb_schema_id family, const char *machine,
                         double value)
{
    FILE *out = page->out[family];

    (void)fputs(cb_schema(family)->prometheus, out);
    label(out, "{", "machine", machine);
    (void)fprintf(out, "} %.17g\n", value);
}

static void domain_labels(FILE *out, const struct cb_store_total *total)
{
    char socket[16];

    (void)snprintf(socket, sizeof(socket), "%u", total->socket);
    label(out, ",", "socket", socket);
    label(out, ",", "domain", cb_domain_name((enum cb_domain)total->domain));
    label(out, ",", "source", cb_source_name((enum cb_source)total->source));
}

/* Microjoules as joules with all their digits. */
static void joules(FILE *out, uint64_t uj)
{
    (void)fprintf(out, "} %llu.%06llu\n", (unsigned long long)(uj / 1000000),
                  (unsigned long long)(uj % 1000000));
}

static void machine_uj(struct page *page, enum cb_schema_id family, const char *machine,
                       uint64_t uj)
{
    FILE *out = page->out[family];

    (void)fputs(cb_schema(family)->prometheus, out);
    label(out, "{", "machine", machine);
    joules(out, uj);
}

static void node_line(struct page *page, enum cb_schema_id family, const char *machine,
                      const struct cb_store_total *total, uint64_t uj)
{
    FILE *out = page->out[family];

    if (!out)
        return;
    (void)fputs(cb_schema(family)->prometheus, out);
    label(out, "{", "machine", machine);
    domain_labels(out, total);
    joules(out, uj);
}

/* Kepler's zones are a machine's; ours are a socket's, which its label says. */
static void kepler_labels(FILE *out, const char *first, const char *machine,
                          const struct cb_store_total *total)
{
    char path[32];

    (void)snprintf(path, sizeof(path), "socket%u", total->socket);
    label(out, first, "node_name", machine);
    label(out, ",", "zone", cb_domain_name((enum cb_domain)total->domain));
    label(out, ",", "path", path);
    label(out, ",", "source", cb_source_name((enum cb_source)total->source));
}

static void kepler_node_line(struct page *page, enum cb_schema_id family, const char *machine,
                             const struct cb_store_total *total, uint64_t uj)
{
    FILE *out = page->out[KEPLER(family)];

    if (!out)
        return;
    (void)fprintf(out, "%s{", cb_schema(family)->kepler);
    kepler_labels(out, "", machine, total);
    joules(out, uj);
}

static void kepler_container_line(struct page *page, const char *machine,
                                  const struct cb_store_total *total)
{
    FILE *out = page->out[KEPLER(CB_SCHEMA_DYNAMIC_UJ)];

    if (!out)
        return;
    (void)fputs(cb_schema(CB_SCHEMA_DYNAMIC_UJ)->kepler, out);
    label(out, "{", "container_id", total->container_id[0] ? total->container_id : total->identity);
    label(out, ",", "container_name", total->name);
    kepler_labels(out, ",", machine, total);
    joules(out, total->energy_uj);
}

static void container_head(FILE *out, enum cb_schema_id family, const char *machine,
                           const struct cb_store_total *total)
{
    (void)fputs(cb_schema(family)->prometheus, out);
    label(out, "{", "machine", machine);
    label(out, ",", "container_id", total->container_id[0] ? total->container_id : total->identity);
    label(out, ",", "container_name", total->name);
    label(out, ",", "image", total->image);
}

static void container_lines(struct page *page, const char *machine,
                            const struct cb_store_total *total)
{
    double model_uj = hypot(total->param_uj, sqrt(total->noise2_uj2));
    double halfwidth_uj = hypot(model_uj, (double)total->source_uncertainty_uj);
    FILE *out = page->out[CB_SCHEMA_DYNAMIC_UJ];

    if (out) {
        container_head(out, CB_SCHEMA_DYNAMIC_UJ, machine, total);
        domain_labels(out, total);
        joules(out, total->energy_uj);
    }
    kepler_container_line(page, machine, total);
    out = page->out[CB_SCHEMA_UNCERTAINTY_UJ];
    container_head(out, CB_SCHEMA_UNCERTAINTY_UJ, machine, total);
    domain_labels(out, total);
    (void)fprintf(out, "} %.17g\n", halfwidth_uj / 1e6);
    if (strcmp(page->last_identity, total->identity) == 0)
        return; /* the domains of one container come one after the other */
    (void)snprintf(page->last_identity, sizeof(page->last_identity), "%s", total->identity);
    out = page->out[CB_SCHEMA_CPU_NS];
    container_head(out, CB_SCHEMA_CPU_NS, machine, total);
    (void)fprintf(out, "} %.17g\n", (double)total->cpu_ns / 1e9);
    out = page->out[CB_SCHEMA_INFO];
    container_head(out, CB_SCHEMA_INFO, machine, total);
    (void)fputs("} 1\n", out);
}

static int write_total(void *context, const char *machine, const struct cb_store_total *total)
{
    struct page *page = context;

    if (total->identity[0]) {
        container_lines(page, machine, total);
        return 0;
    }
    page->last_identity[0] = '\0';
    node_line(page, CB_SCHEMA_ENERGY_UJ, machine, total, total->energy_uj);
    node_line(page, CB_SCHEMA_SOURCE_UNCERTAINTY_UJ, machine, total, total->source_uncertainty_uj);
    node_line(page, CB_SCHEMA_IDLE_UJ, machine, total, total->idle_uj);
    node_line(page, CB_SCHEMA_SYSTEM_UJ, machine, total, total->system_uj);
    node_line(page, CB_SCHEMA_UNATTRIBUTED_UJ, machine, total, total->unattributed_uj);
    kepler_node_line(page, CB_SCHEMA_ENERGY_UJ, machine, total, total->energy_uj);
    kepler_node_line(page, CB_SCHEMA_IDLE_UJ, machine, total, total->idle_uj);
    kepler_node_line(page, CB_SCHEMA_ACTIVE_UJ, machine, total, total->energy_uj - total->idle_uj);
    return 0;
}

static void write_unreadable(void *context, const char *machine,
                             const struct cb_unreadable *unreadable)
{
    const struct page *page = context;
    FILE *out = page->out[CB_SCHEMA_SENSOR_UNREADABLE_INFO];

    machine_line(page, CB_SCHEMA_SENSOR_UNREADABLE, machine, (double)unreadable->n);
    for (size_t i = 0; i < unreadable->n_names; i++) {
        (void)fputs(cb_schema(CB_SCHEMA_SENSOR_UNREADABLE_INFO)->prometheus, out);
        label(out, "{", "machine", machine);
        label(out, ",", "source", unreadable->names[i]);
        (void)fputs("} 1\n", out);
    }
}

static int write_machine(void *context, const struct cb_store_machine *machine)
{
    struct page *page = context;
    const char *name = machine->name;

    machine_line(page, CB_SCHEMA_FRAMES, name, (double)machine->frames);
    machine_line(page, CB_SCHEMA_DUPLICATES, name, (double)machine->duplicates);
    machine_line(page, CB_SCHEMA_REFUSED, name, (double)machine->refused);
    machine_line(page, CB_SCHEMA_VIOLATIONS, name, (double)machine->violations);
    machine_line(page, CB_SCHEMA_SENSOR_LOST_FRAMES, name, (double)machine->lost_frames);
    machine_line(page, CB_SCHEMA_SENSOR_MISSED_TICKS, name, (double)machine->missed_ticks);
    machine_line(page, CB_SCHEMA_SENSOR_CPU_NS, name, (double)machine->self_cpu_ns / 1e9);
    machine_uj(page, CB_SCHEMA_SENSOR_UJ, name, machine->self_uj);
    machine_line(page, CB_SCHEMA_NODE_COVERED_NS, name, (double)machine->covered_ns / 1e9);
    machine_line(page, CB_SCHEMA_GAP_NS, name, (double)machine->gap_ns / 1e9);
    machine_line(page, CB_SCHEMA_GAPS, name, (double)machine->gaps);
    if (machine->last_wall_ns)
        machine_line(page, CB_SCHEMA_LAG_S, name,
                     ((double)page->now_wall_ns - (double)machine->last_wall_ns) / 1e9);
    return 0;
}

static void plain_line(struct page *page, enum cb_schema_id family, uint64_t value)
{
    (void)fprintf(page->out[family], "%s %llu\n", cb_schema(family)->prometheus,
                  (unsigned long long)value);
}

static void sink_line(struct page *page, enum cb_schema_id family, const char *sink, uint64_t value)
{
    (void)fprintf(page->out[family], "%s{sink=\"%s\"} %llu\n", cb_schema(family)->prometheus, sink,
                  (unsigned long long)value);
}

static int write_sinks(struct cb_http *http, struct cb_store *store, struct page *page,
                       struct cb_err *err)
{
    for (size_t i = 0; i < http->o.n_sinks; i++) {
        const struct cb_sink *sink = http->o.sinks[i];
        const struct cb_sink_stats *stats = cb_sink_stats(sink);
        const char *name = cb_sink_name(sink);
        uint64_t waiting;
        uint64_t set_aside;
        int r = cb_store_queue_length(store, name, &waiting, &set_aside, err);

        if (r < 0)
            return r;
        sink_line(page, CB_SCHEMA_SINK_WAITING, name, waiting);
        sink_line(page, CB_SCHEMA_SINK_SET_ASIDE, name, set_aside);
        sink_line(page, CB_SCHEMA_SINK_DELIVERED, name, atomic_load(&stats->delivered_total));
        sink_line(page, CB_SCHEMA_SINK_FAILURES, name, atomic_load(&stats->failures_total));
    }
    return 0;
}

static int write_stream(const struct cb_stream *stream, struct cb_store *store, struct page *page,
                        struct cb_err *err)
{
    const struct cb_stream_stats *stats = cb_stream_stats(stream);
    const char *name = cb_stream_name(stream);
    struct cb_store_stream at;
    uint64_t frames = 0;
    uint64_t oldest_wall_ns = 0;
    int r = cb_store_stream(store, name, &at, err);

    if (r == 0)
        r = cb_store_stream_waiting(store, name, &frames, &oldest_wall_ns, err);
    if (r < 0)
        return r;
    sink_line(page, CB_SCHEMA_STREAM_ROWS, name, atomic_load(&stats->rows_total));
    sink_line(page, CB_SCHEMA_STREAM_BATCHES, name, atomic_load(&stats->batches_total));
    sink_line(page, CB_SCHEMA_STREAM_FAILURES, name, atomic_load(&stats->failures_total));
    sink_line(page, CB_SCHEMA_STREAM_SET_ASIDE, name, at.set_aside_rows);
    sink_line(page, CB_SCHEMA_STREAM_LOST_FRAMES, name, at.lost_frames);
    sink_line(page, CB_SCHEMA_STREAM_WAITING, name, frames);
    (void)fprintf(page->out[CB_SCHEMA_STREAM_LAG_S], "%s{sink=\"%s\"} %.17g\n",
                  cb_schema(CB_SCHEMA_STREAM_LAG_S)->prometheus, name,
                  oldest_wall_ns ? ((double)page->now_wall_ns - (double)oldest_wall_ns) / 1e9 : 0);
    return 0;
}

static int write_streams(struct cb_http *http, struct cb_store *store, struct page *page,
                         struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; http->o.streams && i < http->o.streams->n && r == 0; i++)
        r = write_stream(http->o.streams->at[i], store, page, err);
    return r;
}

static int write_all(struct cb_http *http, struct cb_store *store, struct page *page,
                     struct cb_err *err)
{
    const struct cb_ingest_stats *stats = http->o.stats;
    int r;

    (void)fprintf(page->out[CB_SCHEMA_BUILD_INFO], "%s{version=\"%s\"} 1\n",
                  cb_schema(CB_SCHEMA_BUILD_INFO)->prometheus, CB_VERSION);
    (void)cb_totals_walk(http->o.totals, cb_clock_boot_ns(), write_total, page);
    cb_totals_walk_unreadable(http->o.totals, write_unreadable, page);
    plain_line(page, CB_SCHEMA_COMMITS, atomic_load(&stats->commits_total));
    plain_line(page, CB_SCHEMA_COMMIT_FAILURES, atomic_load(&stats->commit_failures_total));
    plain_line(page, CB_SCHEMA_REFUSED_MESSAGES, atomic_load(&stats->refused_total));
    plain_line(page, CB_SCHEMA_IGNORED_MESSAGES, atomic_load(&stats->ignored_total));
    plain_line(page, CB_SCHEMA_HTTP_REQUESTS, atomic_load(&http->requests_total));
    r = cb_store_machines(store, write_machine, page, err);
    if (r >= 0)
        r = write_sinks(http, store, page, err);
    return r < 0 ? r : write_streams(http, store, page, err);
}

/* ---- the page ---- */

static int open_family(struct page *page, size_t i, const char *name,
                       const struct cb_schema_metric *metric, struct cb_err *err)
{
    page->out[i] = open_memstream(&page->text[i], &page->size[i]);
    if (!page->out[i])
        return cb_err_set(err, ENOMEM, "out of memory");
    (void)fprintf(page->out[i], "# HELP %s %s\n# TYPE %s %s\n", name, metric->help, name,
                  cb_schema_kind_name(metric->kind));
    return 0;
}

/* Metrics that are not exported have no stream; with Kepler's names alone, neither has what it has
 * a name for. */
static int open_page(struct page *page, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < CB_SCHEMA_COUNT && r == 0; i++) {
        const struct cb_schema_metric *metric = cb_schema((enum cb_schema_id)i);

        if (metric->prometheus && (!metric->kepler || page->names & CB_METRICS_CBWATTS))
            r = open_family(page, i, metric->prometheus, metric, err);
        if (r == 0 && metric->kepler && page->names & CB_METRICS_KEPLER)
            r = open_family(page, KEPLER(i), metric->kepler, metric, err);
    }
    return r;
}

/* Close the streams; their texts are to be freed then. */
static int close_page(struct page *page, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < FAMILIES; i++)
        if (page->out[i] && fclose(page->out[i]) != 0)
            r = cb_err_set(err, ENOMEM, "out of memory");
    return r;
}

static int join(const struct page *page, struct reply *ret_reply, struct cb_err *err)
{
    size_t size = 0;
    char *text;

    for (size_t i = 0; i < FAMILIES; i++)
        size += page->size[i];
    text = malloc(size + 1);
    if (!text)
        return cb_err_set(err, ENOMEM, "out of memory");
    *ret_reply = (struct reply){.status = MHD_HTTP_OK,
                                .text = text,
                                .size = size,
                                .type = "text/plain; version=0.0.4; charset=utf-8"};
    for (size_t i = 0; i < FAMILIES; i++) {
        if (page->size[i])
            memcpy(text, page->text[i], page->size[i]);
        text += page->size[i];
    }
    return 0;
}

int cb_http_metrics(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                    struct cb_err *err)
{
    struct page page = {.names = http->o.metrics_names ? http->o.metrics_names : CB_METRICS_CBWATTS,
                        .now_wall_ns = cb_clock_wall_ns()};
    struct cb_store *store = NULL;
    int r = cb_http_take_store(http, &store, err);
    int closed;

    (void)request;
    if (r < 0)
        return r;
    r = open_page(&page, err);
    if (r == 0)
        r = write_all(http, store, &page, err);
    cb_http_give_store(http, store);
    closed = close_page(&page, r < 0 ? NULL : err);
    if (r == 0)
        r = closed;
    if (r == 0)
        r = join(&page, ret_reply, err);
    for (size_t i = 0; i < FAMILIES; i++)
        free(page.text[i]);
    return r;
}
