/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_report.c - see hwpc_report.h. */
#include "sensor/hwpc_report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/utf8.h"

void cb_hwpc_batch_reset(struct cb_hwpc_batch *batch, const char *sensor, int64_t timestamp_ms)
{
    batch->timestamp_ms = timestamp_ms;
    batch->sensor = sensor;
    batch->n = 0;
    batch->text_size = 0;
    batch->n_values = 0;
}

void cb_hwpc_batch_fini(struct cb_hwpc_batch *batch)
{
    free(batch->lines);
    free(batch->text);
    free(batch->values);
    *batch = (struct cb_hwpc_batch){0};
}

/* Room for @more of @size bytes each behind @used. */
static int grow(void *at, size_t *room, size_t used, size_t more, size_t size)
{
    void **array = at;
    size_t wanted = *room ? *room : 64;
    void *moved;

    if (used + more <= *room)
        return 0;
    while (wanted < used + more)
        wanted *= 2;
    moved = realloc(*array, wanted * size);
    if (!moved)
        return -ENOMEM;
    *array = moved;
    *room = wanted;
    return 0;
}

int cb_hwpc_batch_add(struct cb_hwpc_batch *batch, const struct cb_hwpc_form *form,
                      const char *target, uint64_t **ret_values)
{
    size_t size = strlen(target) + 1;

    if (grow(&batch->lines, &batch->lines_room, batch->n, 1, sizeof(*batch->lines)) < 0 ||
        grow(&batch->text, &batch->text_room, batch->text_size, size, 1) < 0 ||
        grow(&batch->values, &batch->values_room, batch->n_values, form->n_values,
             sizeof(*batch->values)) < 0)
        return -ENOMEM;
    memcpy(batch->text + batch->text_size, target, size);
    cb_utf8_clean(batch->text + batch->text_size); /* the kernel takes any bytes for a name */
    batch->lines[batch->n++] = (struct cb_hwpc_report_line){
        .form = form, .target = batch->text_size, .values = batch->n_values};
    *ret_values = batch->values + batch->n_values;
    batch->text_size += size;
    batch->n_values += form->n_values;
    return 0;
}

const char *cb_hwpc_batch_target(const struct cb_hwpc_batch *batch, size_t i)
{
    return batch->text + batch->lines[i].target;
}

const uint64_t *cb_hwpc_batch_values(const struct cb_hwpc_batch *batch, size_t i)
{
    return batch->values + batch->lines[i].values;
}

/* ---- JSON ---- */

static void put_string(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            (void)fputc('\\', out);
        if (c < 0x20)
            (void)fprintf(out, "\\u%04x", c);
        else
            (void)fputc(c, out);
    }
    (void)fputc('"', out);
}

static const uint64_t *put_cpu(FILE *out, const struct cb_hwpc_form_group *group,
                               const uint64_t *values)
{
    for (size_t i = 0; i < group->n_names; i++) {
        (void)fputc(i ? ',' : '{', out);
        put_string(out, group->names[i]);
        (void)fprintf(out, ":%" PRIu64, *values++);
    }
    (void)fputc('}', out);
    return values;
}

static const uint64_t *put_group(FILE *out, const struct cb_hwpc_form_group *group,
                                 const uint64_t *values)
{
    const char *package = NULL;

    (void)fputc('{', out);
    for (size_t i = 0; i < group->n_cpus; i++) {
        const struct cb_hwpc_cpu *cpu = &group->cpus[i];
        bool same = package && strcmp(package, cpu->package) == 0;

        if (!same)
            (void)fprintf(out, "%s\"%s\":{", package ? "}," : "", cpu->package);
        package = cpu->package;
        (void)fprintf(out, "%s\"%s\":", same ? "," : "", cpu->cpu);
        values = put_cpu(out, group, values);
    }
    (void)fputs(package ? "}}" : "}", out);
    return values;
}

void cb_hwpc_batch_json(const struct cb_hwpc_batch *batch, size_t i, FILE *out)
{
    const struct cb_hwpc_form *form = batch->lines[i].form;
    const uint64_t *values = cb_hwpc_batch_values(batch, i);

    (void)fprintf(out, "{\"timestamp\":%" PRId64 ",\"sensor\":", batch->timestamp_ms);
    put_string(out, batch->sensor);
    (void)fputs(",\"target\":", out);
    put_string(out, cb_hwpc_batch_target(batch, i));
    (void)fputs(",\"groups\":{", out);
    for (size_t g = 0; g < form->n_groups; g++) {
        if (g)
            (void)fputc(',', out);
        put_string(out, form->groups[g].name);
        (void)fputc(':', out);
        values = put_group(out, &form->groups[g], values);
    }
    (void)fputs("}}\n", out);
}

/* ---- CSV ---- */

void cb_hwpc_csv_header(const struct cb_hwpc_form_group *group, FILE *out)
{
    (void)fputs("timestamp,sensor,target,socket,cpu", out);
    for (size_t i = 0; i < group->n_names; i++)
        (void)fprintf(out, ",%s", group->names[i]);
    (void)fputc('\n', out);
}

static void put_field(FILE *out, const char *text)
{
    for (; *text; text++)
        (void)fputc(strchr(",\"\r\n", *text) ? '_' : *text, out);
}

void cb_hwpc_batch_csv(const struct cb_hwpc_batch *batch, size_t i, size_t group, FILE *out)
{
    const struct cb_hwpc_form *form = batch->lines[i].form;
    const struct cb_hwpc_form_group *g = &form->groups[group];
    const uint64_t *values = cb_hwpc_batch_values(batch, i);

    for (size_t before = 0; before < group; before++)
        values += form->groups[before].n_cpus * form->groups[before].n_names;
    for (size_t c = 0; c < g->n_cpus; c++) {
        (void)fprintf(out, "%" PRId64 ",", batch->timestamp_ms);
        put_field(out, batch->sensor);
        (void)fputc(',', out);
        put_field(out, cb_hwpc_batch_target(batch, i));
        (void)fprintf(out, ",%s,%s", g->cpus[c].package, g->cpus[c].cpu);
        for (size_t n = 0; n < g->n_names; n++)
            (void)fprintf(out, ",%" PRIu64, *values++);
        (void)fputc('\n', out);
    }
}
