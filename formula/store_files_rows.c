/* SPDX-License-Identifier: Apache-2.0 */
/* store_files_rows.c - a bin as JSON lines or as CSV. See store_files.h. */
#include <inttypes.h>
#include <string.h>

#include "formula/store_files.h"
#include "lib/clock.h"

/* What one line says; a container's lines have a target, energy's a domain. */
struct row {
    const struct cb_stream_bin *bin;
    enum cb_schema_scope scope;
    const struct cb_stream_domain *domain;
    const struct cb_stream_target *target;
    const struct cb_stream_share *share;
};

typedef void add_row(const struct row *row, struct cb_batch *batch);

static void each_row(const struct cb_stream_bin *bin, add_row *add, struct cb_batch *batch)
{
    struct row row = {.bin = bin, .scope = CB_SCHEMA_NODE_DOMAIN};

    for (size_t d = 0; d < bin->n_domains; d++) {
        row.domain = &bin->domains[d];
        add(&row, batch);
    }
    for (size_t t = 0; t < bin->n_targets; t++) {
        row.target = bin->targets[t];
        row.scope = CB_SCHEMA_CONTAINER_DOMAIN;
        for (size_t d = 0; d < bin->n_domains; d++) {
            row.domain = &bin->domains[d];
            row.share = cb_stream_share(bin, t, d);
            add(&row, batch);
        }
        row.scope = CB_SCHEMA_CONTAINER;
        row.domain = NULL;
        row.share = NULL;
        if (row.target->has_metrics || row.target->cpu_ns != CB_STAT_ABSENT)
            add(&row, batch);
    }
}

/* ---- the figures of a row: in the order of CSV's columns ---- */

static const enum cb_schema_id figures[] = {
    CB_SCHEMA_ENERGY_UJ,
    CB_SCHEMA_IDLE_UJ,
    CB_SCHEMA_SYSTEM_UJ,
    CB_SCHEMA_UNATTRIBUTED_UJ,
    CB_SCHEMA_SOURCE_UNCERTAINTY_UJ,
    CB_SCHEMA_COVERED_NS,
    CB_SCHEMA_DYNAMIC_UJ,
    CB_SCHEMA_UNCERTAINTY_UJ,
    CB_SCHEMA_CPU_NS,
};
#define N_FIGURES (sizeof(figures) / sizeof(figures[0]))

static bool of_node(const struct row *row, enum cb_schema_id id, uint64_t *ret_value)
{
    switch (id) {
    case CB_SCHEMA_ENERGY_UJ:
        *ret_value = row->domain->energy_uj;
        return true;
    case CB_SCHEMA_IDLE_UJ:
        *ret_value = row->domain->idle_uj;
        return true;
    case CB_SCHEMA_SYSTEM_UJ:
        *ret_value = row->domain->system_uj;
        return true;
    case CB_SCHEMA_UNATTRIBUTED_UJ:
        *ret_value = row->domain->unattributed_uj;
        return true;
    case CB_SCHEMA_SOURCE_UNCERTAINTY_UJ:
        *ret_value = (uint64_t)row->domain->source_uj;
        return true;
    case CB_SCHEMA_COVERED_NS:
        *ret_value = row->bin->covered_ns;
        return true;
    default:
        return false;
    }
}

/* False: the row does not have it. */
static bool figure(const struct row *row, enum cb_schema_id id, uint64_t *ret_value)
{
    if (row->scope == CB_SCHEMA_NODE_DOMAIN)
        return of_node(row, id, ret_value);
    if (row->scope == CB_SCHEMA_CONTAINER_DOMAIN) {
        if (id == CB_SCHEMA_DYNAMIC_UJ)
            *ret_value = row->share->dynamic_uj;
        else if (id == CB_SCHEMA_UNCERTAINTY_UJ)
            *ret_value = cb_stream_uncertainty_uj(row->share, row->domain);
        return id == CB_SCHEMA_DYNAMIC_UJ || id == CB_SCHEMA_UNCERTAINTY_UJ;
    }
    if (id == CB_SCHEMA_CPU_NS)
        *ret_value = row->target->cpu_ns;
    else if (id >= CB_STREAM_METRIC_FIRST && id < CB_STREAM_METRIC_FIRST + CB_STREAM_METRICS &&
             row->target->has_metrics)
        *ret_value = row->target->metrics[id - CB_STREAM_METRIC_FIRST];
    else
        return false;
    return *ret_value != CB_STAT_ABSENT;
}

static const char *id_of(const struct cb_stream_target *target)
{
    return target->text.container_id[0] ? target->text.container_id : target->identity;
}

/* ---- JSON lines ---- */

static void json_text(struct cb_batch *batch, const char *key, const char *value)
{
    cb_batch_printf(batch, ",\"%s\":\"", key);
    for (; *value; value++) {
        if ((unsigned char)*value < 0x20)
            cb_batch_printf(batch, "\\u%04x", (unsigned)(unsigned char)*value);
        else if (*value == '"' || *value == '\\')
            cb_batch_printf(batch, "\\%c", *value);
        else
            cb_batch_add(batch, value, 1);
    }
    cb_batch_add(batch, "\"", 1);
}

static void json_figure(const struct row *row, enum cb_schema_id id, struct cb_batch *batch)
{
    uint64_t value;

    if (figure(row, id, &value))
        cb_batch_printf(batch, ",\"%s\":%" PRIu64, cb_schema(id)->name, value);
}

static void json_row(const struct row *row, struct cb_batch *batch)
{
    char time[32];

    cb_clock_format_utc((uint64_t)row->bin->wall_ns, time);
    cb_batch_printf(batch, "{\"row\":\"%s\",\"time\":\"%s\",\"wall_ns\":%" PRId64 ",\"again\":%u",
                    cb_schema_measurement(row->scope), time, row->bin->wall_ns, row->bin->again);
    json_text(batch, "machine", row->bin->machine);
    if (row->target) {
        json_text(batch, cb_schema(CB_SCHEMA_CONTAINER_ID)->name, id_of(row->target));
        json_text(batch, cb_schema(CB_SCHEMA_CONTAINER_NAME)->name, row->target->text.name);
        json_text(batch, cb_schema(CB_SCHEMA_IMAGE)->name, row->target->text.image);
    }
    if (row->domain)
        cb_batch_printf(batch, ",\"socket\":%u,\"domain\":\"%s\",\"source\":\"%s\"",
                        row->domain->socket, cb_domain_name((enum cb_domain)row->domain->domain),
                        cb_source_name((enum cb_source)row->domain->source));
    for (size_t i = 0; i < N_FIGURES; i++)
        json_figure(row, figures[i], batch);
    for (size_t i = 0; i < CB_STREAM_METRICS; i++)
        json_figure(row, (enum cb_schema_id)(CB_STREAM_METRIC_FIRST + i), batch);
    cb_batch_text(batch, "}\n");
    batch->rows++;
}

void cb_files_pack_jsonl(const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    each_row(bin, json_row, batch);
}

/* ---- CSV (RFC 4180, lines end in \n) ---- */

static void csv_text(struct cb_batch *batch, const char *value)
{
    bool quote = strpbrk(value, ",\"\r\n") != NULL;

    cb_batch_text(batch, quote ? ",\"" : ",");
    for (; *value; value++)
        if (*value == '"')
            cb_batch_text(batch, "\"\"");
        else
            cb_batch_add(batch, *value == '\n' || *value == '\r' ? " " : value, 1);
    if (quote)
        cb_batch_add(batch, "\"", 1);
}

static void csv_figure(const struct row *row, enum cb_schema_id id, struct cb_batch *batch)
{
    uint64_t value;

    if (figure(row, id, &value))
        cb_batch_printf(batch, ",%" PRIu64, value);
    else
        cb_batch_add(batch, ",", 1);
}

void cb_files_csv_head(struct cb_batch *batch)
{
    cb_batch_text(batch, "row,time,wall_ns,again,machine,container_id,container_name,image,socket,"
                         "domain,source");
    for (size_t i = 0; i < N_FIGURES; i++)
        cb_batch_printf(batch, ",%s", cb_schema(figures[i])->name);
    for (size_t i = 0; i < CB_STREAM_METRICS; i++)
        cb_batch_printf(batch, ",%s",
                        cb_schema((enum cb_schema_id)(CB_STREAM_METRIC_FIRST + i))->name);
    cb_batch_text(batch, "\n");
}

static void csv_row(const struct row *row, struct cb_batch *batch)
{
    char time[32];

    cb_clock_format_utc((uint64_t)row->bin->wall_ns, time);
    cb_batch_printf(batch, "%s,%s,%" PRId64 ",%u", cb_schema_measurement(row->scope), time,
                    row->bin->wall_ns, row->bin->again);
    csv_text(batch, row->bin->machine);
    csv_text(batch, row->target ? id_of(row->target) : "");
    csv_text(batch, row->target ? row->target->text.name : "");
    csv_text(batch, row->target ? row->target->text.image : "");
    if (row->domain)
        cb_batch_printf(batch, ",%u,%s,%s", row->domain->socket,
                        cb_domain_name((enum cb_domain)row->domain->domain),
                        cb_source_name((enum cb_source)row->domain->source));
    else
        cb_batch_text(batch, ",,,");
    for (size_t i = 0; i < N_FIGURES; i++)
        csv_figure(row, figures[i], batch);
    for (size_t i = 0; i < CB_STREAM_METRICS; i++)
        csv_figure(row, (enum cb_schema_id)(CB_STREAM_METRIC_FIRST + i), batch);
    cb_batch_text(batch, "\n");
    batch->rows++;
}

void cb_files_pack_csv(const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    each_row(bin, csv_row, batch);
}
