/* SPDX-License-Identifier: Apache-2.0 */
/* store_mongodb_pack.c - rows of a stream as documents. See store_mongodb.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formula/store_mongodb.h"
#include "lib/err.h"

/* A document has 16 MiB; a target may take two KiB. What is beyond is in further parts. */
#define TARGETS_MAX 5000
#define ID_SIZE (CB_NAME_SIZE + CB_STORE_TEXT_SIZE + 128)

int cb_mongodb_formats_parse(const char *text, unsigned *ret_formats, struct cb_err *err)
{
    static const struct {
        const char *text;
        unsigned formats;
    } all[] = {
        {"none", 0},
        {"cbwatts", CB_MONGODB_CBWATTS},
        {"powerapi", CB_MONGODB_POWERAPI},
        {"cbwatts,powerapi", CB_MONGODB_CBWATTS | CB_MONGODB_POWERAPI},
        {"powerapi,cbwatts", CB_MONGODB_CBWATTS | CB_MONGODB_POWERAPI},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(all[i].text, text) == 0) {
            *ret_formats = all[i].formats;
            return 0;
        }
    return cb_err_set(err, EINVAL, "'%.20s' is not cbwatts, powerapi, cbwatts,powerapi or none",
                      text);
}

static void put(unsigned format, bson_t *doc, struct cb_batch *batch)
{
    uint8_t tag = (uint8_t)format;

    cb_batch_add(batch, &tag, 1);
    cb_batch_add(batch, bson_get_data(doc), doc->len);
    batch->rows++;
}

static void text(bson_t *doc, const char *key, const char *value)
{
    (void)bson_append_utf8(doc, key, -1, value, -1);
}

static void number(bson_t *doc, const char *key, uint64_t value)
{
    (void)bson_append_int64(doc, key, -1, (int64_t)value);
}

static const char *name_of(enum cb_schema_id id)
{
    return cb_schema(id)->name;
}

/* ---- energy ---- */

static void put_domains(bson_t *doc, const struct cb_stream_bin *bin)
{
    bson_t array;
    bson_t one;

    (void)bson_append_array_begin(doc, "domains", -1, &array);
    for (size_t d = 0; d < bin->n_domains; d++) {
        const struct cb_stream_domain *domain = &bin->domains[d];
        char buffer[16];
        const char *key;
        size_t n = bson_uint32_to_string((uint32_t)d, &key, buffer, sizeof(buffer));

        (void)bson_append_document_begin(&array, key, (int)n, &one);
        (void)bson_append_int32(&one, "socket", -1, domain->socket);
        text(&one, "domain", cb_domain_name((enum cb_domain)domain->domain));
        text(&one, "source", cb_source_name((enum cb_source)domain->source));
        number(&one, name_of(CB_SCHEMA_ENERGY_UJ), domain->energy_uj);
        number(&one, name_of(CB_SCHEMA_IDLE_UJ), domain->idle_uj);
        number(&one, name_of(CB_SCHEMA_SYSTEM_UJ), domain->system_uj);
        number(&one, name_of(CB_SCHEMA_UNATTRIBUTED_UJ), domain->unattributed_uj);
        number(&one, name_of(CB_SCHEMA_SOURCE_UNCERTAINTY_UJ), (uint64_t)domain->source_uj);
        (void)bson_append_document_end(&array, &one);
    }
    (void)bson_append_array_end(doc, &array);
}

/* One figure a domain, in the order of `domains`. */
static void put_figures(bson_t *doc, const char *key, const struct cb_stream_bin *bin, size_t t,
                        bool uncertainty)
{
    bson_t array;

    (void)bson_append_array_begin(doc, key, -1, &array);
    for (size_t d = 0; d < bin->n_domains; d++) {
        const struct cb_stream_share *share = cb_stream_share(bin, t, d);
        char buffer[16];
        const char *index;

        (void)bson_uint32_to_string((uint32_t)d, &index, buffer, sizeof(buffer));
        number(&array, index,
               uncertainty ? cb_stream_uncertainty_uj(share, &bin->domains[d]) : share->dynamic_uj);
    }
    (void)bson_append_array_end(doc, &array);
}

static void put_target(bson_t *doc, const struct cb_stream_bin *bin, size_t t)
{
    const struct cb_stream_target *target = bin->targets[t];

    text(doc, "id", target->identity);
    text(doc, "container_id", target->text.container_id);
    text(doc, "name", target->text.name);
    text(doc, "image", target->text.image);
    put_figures(doc, name_of(CB_SCHEMA_DYNAMIC_UJ), bin, t, false);
    put_figures(doc, name_of(CB_SCHEMA_UNCERTAINTY_UJ), bin, t, true);
    if (target->cpu_ns != CB_STAT_ABSENT)
        number(doc, name_of(CB_SCHEMA_CPU_NS), target->cpu_ns);
    for (unsigned m = 0; target->has_metrics && m < CB_STREAM_METRICS; m++)
        if (target->metrics[m] != CB_STAT_ABSENT)
            number(doc, name_of((enum cb_schema_id)(CB_STREAM_METRIC_FIRST + m)),
                   target->metrics[m]);
}

static void put_targets(bson_t *doc, const struct cb_stream_bin *bin, size_t first, size_t end)
{
    bson_t array;
    bson_t one;

    (void)bson_append_array_begin(doc, "targets", -1, &array);
    for (size_t t = first; t < end; t++) {
        char buffer[16];
        const char *key;

        (void)bson_uint32_to_string((uint32_t)(t - first), &key, buffer, sizeof(buffer));
        (void)bson_append_document_begin(&array, key, -1, &one);
        put_target(&one, bin, t);
        (void)bson_append_document_end(&array, &one);
    }
    (void)bson_append_array_end(doc, &array);
}

static void pack_part(const struct cb_stream_bin *bin, unsigned part, struct cb_batch *batch)
{
    size_t first = (size_t)part * TARGETS_MAX;
    size_t end = first + TARGETS_MAX < bin->n_targets ? first + TARGETS_MAX : bin->n_targets;
    char id[ID_SIZE];
    bson_t doc = BSON_INITIALIZER;

    (void)snprintf(id, sizeof(id), "%" PRId64 ":%u:%u:%s", bin->wall_ns, bin->again, part,
                   bin->machine);
    text(&doc, "_id", id);
    (void)bson_append_date_time(&doc, "timestamp", -1, bin->wall_ns / 1000000);
    text(&doc, "machine", bin->machine);
    text(&doc, "boot_id", bin->boot_id);
    (void)bson_append_int32(&doc, "again", -1, (int32_t)bin->again);
    (void)bson_append_int32(&doc, "part", -1, (int32_t)part);
    number(&doc, "resolution_ns", bin->resolution_ns);
    number(&doc, "covered_ns", bin->covered_ns);
    number(&doc, "t0_ns", bin->t0_ns);
    number(&doc, "t1_ns", bin->t1_ns);
    if (bin->machine_cpu_ns != CB_STAT_ABSENT)
        number(&doc, "machine_cpu_ns", bin->machine_cpu_ns);
    put_domains(&doc, bin);
    put_targets(&doc, bin, first, end);
    put(CB_MONGODB_CBWATTS, &doc, batch);
    bson_destroy(&doc);
}

static void pack_energy(const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    unsigned part = 0;

    do
        pack_part(bin, part++, batch);
    while ((size_t)part * TARGETS_MAX < bin->n_targets);
}

/* ---- PowerAPI's power reports ---- */

static void pack_report(const struct cb_stream_bin *bin, const struct cb_stream_domain *domain,
                        const char *target, const char *identity, uint64_t uj, double ratio,
                        struct cb_batch *batch)
{
    const char *scope = domain->domain == CB_DOMAIN_DRAM ? "dram" : "cpu";
    const char *source = cb_source_name((enum cb_source)domain->source);
    char id[ID_SIZE];
    char socket[16];
    bson_t doc = BSON_INITIALIZER;
    bson_t metadata;

    (void)snprintf(socket, sizeof(socket), "%u", domain->socket);
    (void)snprintf(id, sizeof(id), "%" PRId64 ":%u:%s:%s:%s:%s:%s", bin->wall_ns, bin->again, scope,
                   socket, source, bin->machine, identity);
    text(&doc, "_id", id);
    (void)bson_append_date_time(&doc, "timestamp", -1, bin->wall_ns / 1000000);
    text(&doc, "sensor", bin->machine);
    text(&doc, "target", target);
    (void)bson_append_document_begin(&doc, "metadata", -1, &metadata);
    text(&metadata, "scope", scope);
    text(&metadata, "socket", socket);
    text(&metadata, "formula", "cbwatts");
    (void)bson_append_double(&metadata, "ratio", -1, ratio);
    text(&metadata, "source", source);
    (void)bson_append_document_end(&doc, &metadata);
    (void)bson_append_double(&doc, "power", -1, (double)uj * 1e3 / (double)bin->covered_ns);
    put(CB_MONGODB_POWERAPI, &doc, batch);
    bson_destroy(&doc);
}

/* As its formula does: the reference, the sum of the containers, and each of them. */
static void pack_reports(const struct cb_stream_bin *bin, size_t d, struct cb_batch *batch)
{
    const struct cb_stream_domain *domain = &bin->domains[d];
    uint64_t global =
        domain->energy_uj - domain->idle_uj - domain->system_uj - domain->unattributed_uj;

    pack_report(bin, domain, "rapl", "rapl", domain->energy_uj, 1, batch);
    pack_report(bin, domain, "global", "global", global, 1, batch);
    for (size_t t = 0; t < bin->n_targets; t++) {
        const struct cb_stream_target *target = bin->targets[t];
        uint64_t uj = cb_stream_share(bin, t, d)->dynamic_uj;

        pack_report(bin, domain, target->text.name[0] ? target->text.name : target->identity,
                    target->identity, uj, global ? (double)uj / (double)global : 0, batch);
    }
}

void cb_mongodb_pack(unsigned formats, const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    if (formats & CB_MONGODB_CBWATTS)
        pack_energy(bin, batch);
    for (size_t d = 0; (formats & CB_MONGODB_POWERAPI) && d < bin->n_domains; d++)
        if (cb_domain_is_top((enum cb_domain)bin->domains[d].domain))
            pack_reports(bin, d, batch);
}
