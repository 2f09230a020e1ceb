/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_metrics.c - /metrics in the Prometheus text format, version 0.0.4.
 *
 * Every family is written into a stream of its own while the sums are walked once, so that the
 * figures of one scrape belong together: node energy = idle + system + unattributed + containers.
 * A container that is dead for five minutes is dropped, and its energy with it; node counters go
 * on.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formula/http_private.h"
#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"

enum family {
    BUILD_INFO,
    CONTAINER_ENERGY,
    CONTAINER_UNCERTAINTY,
    CONTAINER_CPU,
    CONTAINER_INFO,
    NODE_ENERGY,
    NODE_UNCERTAINTY,
    NODE_IDLE,
    NODE_SYSTEM,
    NODE_UNATTRIBUTED,
    FRAMES,
    DUPLICATES,
    REFUSED,
    VIOLATIONS,
    LOST,
    LAG,
    COMMITS,
    COMMIT_FAILURES,
    REFUSED_MESSAGES,
    IGNORED,
    REQUESTS,
    SINK_WAITING,
    SINK_SET_ASIDE,
    SINK_DELIVERED,
    SINK_FAILURES,
    N_FAMILIES,
};

static const struct {
    const char *name, *type, *help;
} families[N_FAMILIES] = {
    [BUILD_INFO] = {"cb_build_info", "gauge", "Version of cbformula; always 1."},
    [CONTAINER_ENERGY] =
        {"cb_container_energy_joules_total", "counter",
         "Dynamic energy of the container. Domains other than package and dram lie "
         "inside them: never add those up. source=\"estimate\" is not measured."},
    [CONTAINER_UNCERTAINTY] = {"cb_container_energy_uncertainty_joules", "gauge",
                               "Half-width of the 95 % interval of "
                               "cb_container_energy_joules_total, without that of the source."},
    [CONTAINER_CPU] = {"cb_container_cpu_seconds_total", "counter", "CPU time of the container."},
    [CONTAINER_INFO] = {"cb_container_info", "gauge", "Name and image of a container; always 1."},
    [NODE_ENERGY] = {"cb_node_energy_joules_total", "counter",
                     "Energy of the machine's socket and domain, as its source counted it."},
    [NODE_UNCERTAINTY] = {"cb_node_energy_uncertainty_joules", "gauge",
                          "Half-width of the 95 % interval of cb_node_energy_joules_total."},
    [NODE_IDLE] = {"cb_node_idle_energy_joules_total", "counter",
                   "Part of the node's energy that it would have used idle."},
    [NODE_SYSTEM] = {"cb_node_system_energy_joules_total", "counter",
                     "Dynamic energy of what runs outside containers."},
    [NODE_UNATTRIBUTED] = {"cb_unattributed_energy_joules_total", "counter",
                           "Energy that could not be assigned to anything."},
    [FRAMES] = {"cb_formula_frames_total", "counter", "Frames of the machine that were stored."},
    [DUPLICATES] = {"cb_formula_duplicate_frames_total", "counter",
                    "Frames that came again and were dropped."},
    [REFUSED] = {"cb_formula_refused_frames_total", "counter",
                 "Frames and hellos of the machine that were refused."},
    [VIOLATIONS] = {"cb_formula_conservation_violations_total", "counter",
                    "Domains of frames whose parts did not sum to their energy; always 0."},
    [LOST] = {"cb_sensor_lost_frames_total", "counter",
              "Frames the sensor had to drop because its spool was full."},
    [LAG] = {"cb_formula_lag_seconds", "gauge", "Age of the machine's newest stored frame."},
    [COMMITS] = {"cb_formula_commits_total", "counter", "Transactions of ingest since the start."},
    [COMMIT_FAILURES] = {"cb_formula_commit_failures_total", "counter",
                         "Transactions of ingest that failed and were repeated, since the start."},
    [REFUSED_MESSAGES] = {"cb_formula_refused_messages_total", "counter",
                          "Messages that were refused since the start, also of unknown machines."},
    [IGNORED] = {"cb_formula_ignored_messages_total", "counter",
                 "Malformed messages, and those of keys that are not let in, since the start."},
    [REQUESTS] = {"cb_formula_http_requests_total", "counter", "HTTP requests since the start."},
    [SINK_WAITING] = {"cb_sink_queue_entries", "gauge", "Recaps that wait for another store."},
    [SINK_SET_ASIDE] = {"cb_sink_set_aside_entries", "gauge",
                        "Recaps that another store will never take."},
    [SINK_DELIVERED] = {"cb_sink_delivered_total", "counter",
                        "Recaps that another store took since the start."},
    [SINK_FAILURES] = {"cb_sink_failures_total", "counter",
                       "Tries to reach another store that failed, since the start."},
};

struct page {
    FILE *out[N_FAMILIES];
    char *text[N_FAMILIES];
    size_t size[N_FAMILIES];
    uint64_t now_wall_ns;
    char last_identity[CB_STORE_TEXT_SIZE]; /* of the series whose info was written */
};

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

static void machine_line(struct page *page, enum family family, const char *machine, double value)
{
    FILE *out = page->out[family];

    (void)fputs(families[family].name, out);
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

static void node_line(struct page *page, enum family family, const char *machine,
                      const struct cb_store_total *total, uint64_t uj)
{
    FILE *out = page->out[family];

    (void)fputs(families[family].name, out);
    label(out, "{", "machine", machine);
    domain_labels(out, total);
    joules(out, uj);
}

static void container_head(FILE *out, enum family family, const char *machine,
                           const struct cb_store_total *total)
{
    (void)fputs(families[family].name, out);
    label(out, "{", "machine", machine);
    label(out, ",", "container_id", total->container_id[0] ? total->container_id : total->identity);
    label(out, ",", "container_name", total->name);
    label(out, ",", "image", total->image);
}

static void container_lines(struct page *page, const char *machine,
                            const struct cb_store_total *total)
{
    double halfwidth_uj = hypot(total->param_uj, sqrt(total->noise2_uj2));
    FILE *out = page->out[CONTAINER_ENERGY];

    container_head(out, CONTAINER_ENERGY, machine, total);
    domain_labels(out, total);
    joules(out, total->energy_uj);
    out = page->out[CONTAINER_UNCERTAINTY];
    container_head(out, CONTAINER_UNCERTAINTY, machine, total);
    domain_labels(out, total);
    (void)fprintf(out, "} %.17g\n", halfwidth_uj / 1e6);
    if (strcmp(page->last_identity, total->identity) == 0)
        return; /* the domains of one container come one after the other */
    (void)snprintf(page->last_identity, sizeof(page->last_identity), "%s", total->identity);
    out = page->out[CONTAINER_CPU];
    container_head(out, CONTAINER_CPU, machine, total);
    (void)fprintf(out, "} %.17g\n", (double)total->cpu_ns / 1e9);
    out = page->out[CONTAINER_INFO];
    container_head(out, CONTAINER_INFO, machine, total);
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
    node_line(page, NODE_ENERGY, machine, total, total->energy_uj);
    node_line(page, NODE_UNCERTAINTY, machine, total, total->source_uncertainty_uj);
    node_line(page, NODE_IDLE, machine, total, total->idle_uj);
    node_line(page, NODE_SYSTEM, machine, total, total->system_uj);
    node_line(page, NODE_UNATTRIBUTED, machine, total, total->unattributed_uj);
    return 0;
}

static int write_machine(void *context, const struct cb_store_machine *machine)
{
    struct page *page = context;
    const char *name = machine->name;

    machine_line(page, FRAMES, name, (double)machine->frames);
    machine_line(page, DUPLICATES, name, (double)machine->duplicates);
    machine_line(page, REFUSED, name, (double)machine->refused);
    machine_line(page, VIOLATIONS, name, (double)machine->violations);
    machine_line(page, LOST, name, (double)machine->lost_frames);
    if (machine->last_wall_ns)
        machine_line(page, LAG, name,
                     ((double)page->now_wall_ns - (double)machine->last_wall_ns) / 1e9);
    return 0;
}

static void plain_line(struct page *page, enum family family, uint64_t value)
{
    (void)fprintf(page->out[family], "%s %llu\n", families[family].name, (unsigned long long)value);
}

static void sink_line(struct page *page, enum family family, const char *sink, uint64_t value)
{
    (void)fprintf(page->out[family], "%s{sink=\"%s\"} %llu\n", families[family].name, sink,
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
        sink_line(page, SINK_WAITING, name, waiting);
        sink_line(page, SINK_SET_ASIDE, name, set_aside);
        sink_line(page, SINK_DELIVERED, name, atomic_load(&stats->delivered_total));
        sink_line(page, SINK_FAILURES, name, atomic_load(&stats->failures_total));
    }
    return 0;
}

static int write_all(struct cb_http *http, struct cb_store *store, struct page *page,
                     struct cb_err *err)
{
    const struct cb_ingest_stats *stats = http->o.stats;
    int r;

    (void)fprintf(page->out[BUILD_INFO], "cb_build_info{version=\"%s\"} 1\n", CB_VERSION);
    (void)cb_totals_walk(http->o.totals, write_total, page);
    plain_line(page, COMMITS, atomic_load(&stats->commits_total));
    plain_line(page, COMMIT_FAILURES, atomic_load(&stats->commit_failures_total));
    plain_line(page, REFUSED_MESSAGES, atomic_load(&stats->refused_total));
    plain_line(page, IGNORED, atomic_load(&stats->ignored_total));
    plain_line(page, REQUESTS, atomic_load(&http->requests_total));
    r = cb_store_machines(store, write_machine, page, err);
    return r < 0 ? r : write_sinks(http, store, page, err);
}

/* ---- the page ---- */

static int open_page(struct page *page, struct cb_err *err)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        page->out[i] = open_memstream(&page->text[i], &page->size[i]);
        if (!page->out[i])
            return cb_err_set(err, ENOMEM, "out of memory");
        (void)fprintf(page->out[i], "# HELP %s %s\n# TYPE %s %s\n", families[i].name,
                      families[i].help, families[i].name, families[i].type);
    }
    return 0;
}

/* Close the streams; their texts are to be freed then. */
static int close_page(struct page *page, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < N_FAMILIES; i++)
        if (page->out[i] && fclose(page->out[i]) != 0)
            r = cb_err_set(err, ENOMEM, "out of memory");
    return r;
}

static int join(const struct page *page, struct reply *ret_reply, struct cb_err *err)
{
    size_t size = 0;
    char *text;

    for (size_t i = 0; i < N_FAMILIES; i++)
        size += page->size[i];
    text = malloc(size + 1);
    if (!text)
        return cb_err_set(err, ENOMEM, "out of memory");
    *ret_reply = (struct reply){.status = MHD_HTTP_OK,
                                .text = text,
                                .size = size,
                                .type = "text/plain; version=0.0.4; charset=utf-8"};
    for (size_t i = 0; i < N_FAMILIES; i++) {
        memcpy(text, page->text[i], page->size[i]);
        text += page->size[i];
    }
    return 0;
}

int cb_http_metrics(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                    struct cb_err *err)
{
    struct page page = {.now_wall_ns = cb_clock_wall_ns()};
    struct cb_store *store;
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
    for (size_t i = 0; i < N_FAMILIES; i++)
        free(page.text[i]);
    return r;
}
