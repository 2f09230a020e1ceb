/* SPDX-License-Identifier: Apache-2.0 */
/* render.c - see render.h. */
#include "tester/render.h"

#include <errno.h>
#include <math.h>

#include "lib/err.h"
#include "tester/table.h"

#define SHORT_ID 12
#define OTHERS_SHOWN 5
#define COVERED_ENOUGH 0.99 /* below this part of a phase, the missing frames are mentioned */

/* What all rows are made from. */
struct page {
    const struct cb_report *reports;
    size_t n;
    struct cb_table *table;
};

/* What a row of joules shows, by domain or summed over those that may be. */
struct sums {
    bool there, is_estimate;
    double energy_j, dynamic_j, others_j, system_j, idle_j, unattributed_j, uncertainty_j, share_j;
    double covered_s;
};

static const char *mark(bool is_estimate)
{
    return is_estimate ? " (estimate)" : "";
}

static const struct cb_report_phase *find_phase(const struct cb_report *report, const char *name)
{
    for (size_t i = 0; i < report->n_phases; i++)
        if (strcmp(report->phases[i].phase, name) == 0)
            return &report->phases[i];
    return NULL;
}

static void add(struct sums *sums, const struct cb_report_domain *d)
{
    sums->there = true;
    sums->is_estimate |= d->is_estimate;
    sums->energy_j += (double)d->energy_uj / 1e6;
    sums->dynamic_j += (double)d->dynamic_uj / 1e6;
    sums->others_j += (double)d->others_uj / 1e6;
    sums->system_j += (double)d->system_uj / 1e6;
    sums->idle_j += (double)d->idle_uj / 1e6;
    sums->unattributed_j += (double)d->unattributed_uj / 1e6;
    sums->uncertainty_j += (double)d->uncertainty_uj / 1e6; /* may be of one cause: linearly */
    sums->share_j += (double)d->idle_share_uj / 1e6;
}

/* One domain (@domain NULL: the sum of the top ones, where there is more than one). */
static struct sums sums_of(const struct cb_report_phase *phase, unsigned socket, const char *domain)
{
    struct sums sums = {.covered_s = phase ? phase->covered_seconds : 0};

    for (size_t i = 0; phase && i < phase->n_domains; i++) {
        const struct cb_report_domain *d = &phase->domains[i];

        if (domain ? d->socket == socket && strcmp(d->domain, domain) == 0 : d->is_top)
            add(&sums, d);
    }
    return sums;
}

static void joules_row(struct page *page, const char *label, const struct sums *sums, size_t member)
{
    cb_table_row(page->table, "%s", label);
    for (size_t c = 0; c < page->n; c++) {
        double joules;

        memcpy(&joules, (const char *)&sums[c] + member, sizeof(joules));
        if (!sums[c].there)
            cb_table_set(page->table, c, "-");
        else if (member == offsetof(struct sums, share_j) &&
                 strcmp(page->reports[c].idle_policy, "none") == 0)
            cb_table_set(page->table, c, "not shared out");
        else
            cb_table_set(page->table, c, "%.3f%s", joules, mark(sums[c].is_estimate));
    }
}

static void watts_row(struct page *page, const char *label, const struct sums *sums, bool whole)
{
    cb_table_row(page->table, "%s", label);
    for (size_t c = 0; c < page->n; c++) {
        double joules = whole ? sums[c].energy_j : sums[c].dynamic_j + sums[c].share_j;

        if (sums[c].there && sums[c].covered_s > 0)
            cb_table_set(page->table, c, "%.3f%s", joules / sums[c].covered_s,
                         mark(sums[c].is_estimate));
        else
            cb_table_set(page->table, c, "-");
    }
}

static void own_rows(struct page *page, const struct sums *sums)
{
    joules_row(page, "    dynamic J", sums, offsetof(struct sums, dynamic_j));
    joules_row(page, "    +/- J (95 %)", sums, offsetof(struct sums, uncertainty_j));
    joules_row(page, "    idle share J", sums, offsetof(struct sums, share_j));
    watts_row(page, "    mean W (dynamic + idle share)", sums, false);
}

static void other_rows(struct page *page, const struct sums *sums)
{
    joules_row(page, "    other containers J", sums, offsetof(struct sums, others_j));
    joules_row(page, "    system J", sums, offsetof(struct sums, system_j));
    joules_row(page, "    idle J", sums, offsetof(struct sums, idle_j));
    joules_row(page, "    unattributed J", sums, offsetof(struct sums, unattributed_j));
    joules_row(page, "    everything J", sums, offsetof(struct sums, energy_j));
    watts_row(page, "    mean W of everything", sums, true);
}

static void domain_rows(struct page *page, const char *phase, unsigned socket, const char *domain,
                        struct sums *sums)
{
    cb_table_row(page->table, "  %s of socket %u", domain, socket);
    for (size_t c = 0; c < page->n; c++) {
        const struct cb_report_phase *p = find_phase(&page->reports[c], phase);

        sums[c] = sums_of(p, socket, domain);
        cb_table_set(page->table, c, "-");
        for (size_t i = 0; p && i < p->n_domains; i++)
            if (p->domains[i].socket == socket && strcmp(p->domains[i].domain, domain) == 0)
                cb_table_set(page->table, c, "%s", p->domains[i].source);
    }
    own_rows(page, sums);
    other_rows(page, sums);
}

/* A total says something only where there is more than one domain to add. */
static void total_rows(struct page *page, const char *phase, struct sums *sums)
{
    size_t most = 0;

    for (size_t c = 0; c < page->n; c++) {
        const struct cb_report_phase *p = find_phase(&page->reports[c], phase);
        size_t tops = 0;

        for (size_t i = 0; p && i < p->n_domains; i++)
            tops += p->domains[i].is_top;
        most = tops > most ? tops : most;
        sums[c] = sums_of(p, 0, NULL);
    }
    if (most < 2)
        return;
    cb_table_row(page->table, "  package + dram, all sockets");
    own_rows(page, sums);
}

/* True when (socket, domain) was shown before: in an earlier column, or earlier in this one. */
static bool shown_before(const struct page *page, const char *phase, size_t column, size_t index)
{
    const struct cb_report_domain *d = &find_phase(&page->reports[column], phase)->domains[index];

    for (size_t c = 0; c <= column; c++) {
        const struct cb_report_phase *p = find_phase(&page->reports[c], phase);

        for (size_t i = 0; p && i < (c == column ? index : p->n_domains); i++)
            if (p->domains[i].socket == d->socket && strcmp(p->domains[i].domain, d->domain) == 0)
                return true;
    }
    return false;
}

static void seconds_row(struct page *page, const char *label, const char *phase, size_t member)
{
    cb_table_row(page->table, "%s", label);
    for (size_t c = 0; c < page->n; c++) {
        const struct cb_report_phase *p = find_phase(&page->reports[c], phase);
        double seconds = NAN;

        if (p)
            memcpy(&seconds, (const char *)p + member, sizeof(seconds));
        if (isnan(seconds))
            cb_table_set(page->table, c, "-");
        else
            cb_table_set(page->table, c, "%.3f", seconds);
    }
}

static void phase_rows(struct page *page, const char *phase, struct sums *sums)
{
    cb_table_row(page->table, "%s", "");
    cb_table_row(page->table, "%s", phase);
    seconds_row(page, "  seconds", phase, offsetof(struct cb_report_phase, seconds));
    seconds_row(page, "  CPU seconds", phase, offsetof(struct cb_report_phase, cpu_seconds));
    seconds_row(page, "  CPU seconds of the machine", phase,
                offsetof(struct cb_report_phase, machine_cpu_seconds));
    for (size_t c = 0; c < page->n; c++) {
        const struct cb_report_phase *p = find_phase(&page->reports[c], phase);

        for (size_t i = 0; p && i < p->n_domains; i++)
            if (!shown_before(page, phase, c, i))
                domain_rows(page, phase, p->domains[i].socket, p->domains[i].domain, sums);
    }
    total_rows(page, phase, sums);
}

static bool has_estimate(const struct cb_report *report)
{
    for (size_t i = 0; i < report->n_phases; i++)
        for (size_t j = 0; j < report->phases[i].n_domains; j++)
            if (report->phases[i].domains[j].is_estimate)
                return true;
    return strcmp(report->source, "estimate") == 0;
}

static void head_rows(struct page *page)
{
    struct cb_table *t = page->table;

    cb_table_row(t, "test");
    for (size_t c = 0; c < page->n; c++)
        cb_table_set(t, c, "%s", page->reports[c].name);
    cb_table_row(t, "image");
    for (size_t c = 0; c < page->n; c++)
        cb_table_set(t, c, "%s", page->reports[c].image);
    cb_table_row(t, "container");
    for (size_t c = 0; c < page->n; c++)
        cb_table_set(t, c, "%.*s", SHORT_ID, page->reports[c].id);
    cb_table_row(t, "machine");
    for (size_t c = 0; c < page->n; c++)
        cb_table_set(t, c, "%s", page->reports[c].machine);
    cb_table_row(t, "begin");
    for (size_t c = 0; c < page->n; c++)
        cb_table_set(t, c, "%s", page->reports[c].begin);
    cb_table_row(t, "exit code");
    for (size_t c = 0; c < page->n; c++)
        if (page->reports[c].exit_code == CB_REPORT_NO_EXIT)
            cb_table_set(t, c, "not known");
        else
            cb_table_set(t, c, "%d", page->reports[c].exit_code);
    cb_table_row(t, "energy source");
    for (size_t c = 0; c < page->n; c++)
        cb_table_set(t, c, "%s",
                     has_estimate(&page->reports[c]) ? "ESTIMATE, not measured"
                     : page->reports[c].source[0]    ? page->reports[c].source
                                                     : "none");
    cb_table_row(t, "idle energy shared out");
    for (size_t c = 0; c < page->n; c++)
        cb_table_set(t, c, "%s", page->reports[c].idle_policy);
}

/* True when @phase was met before @index of @column. */
static bool phase_shown(const struct page *page, const char *phase, size_t column, size_t index)
{
    for (size_t c = 0; c < column; c++)
        if (find_phase(&page->reports[c], phase))
            return true;
    return find_phase(&page->reports[column], phase) != &page->reports[column].phases[index];
}

/* Every phase that any report has, the warm-up first. */
static void all_phases(struct page *page, struct sums *sums)
{
    for (int pass = 0; pass < 2; pass++)
        for (size_t c = 0; c < page->n; c++)
            for (size_t i = 0; i < page->reports[c].n_phases; i++) {
                const char *name = page->reports[c].phases[i].phase;
                bool is_warmup = strcmp(name, "warmup") == 0;

                if (is_warmup == (pass == 0) && !phase_shown(page, name, c, i))
                    phase_rows(page, name, sums);
            }
}

static void print_safe(FILE *out, const char *text)
{
    for (; *text; text++)
        (void)fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static int by_joules(const void *a, const void *b)
{
    uint64_t x = ((const struct cb_report_other *)a)->dynamic_uj;
    uint64_t y = ((const struct cb_report_other *)b)->dynamic_uj;

    return x < y ? 1 : x > y ? -1 : 0;
}

/* By its name, or by its short id when Docker did not say a name. */
static void print_other(const struct cb_report_other *other, FILE *out)
{
    char id[SHORT_ID + 1];

    (void)snprintf(id, sizeof(id), "%s", other->id);
    print_safe(out, other->name[0] ? other->name : id);
}

/* The other containers that ran meanwhile: the greatest by name, the rest as a sum. */
static int print_others(const struct cb_report *report, FILE *out)
{
    const char *marked = mark(has_estimate(report));
    cb_auto_free struct cb_report_other *sorted =
        calloc(report->n_others ? report->n_others : 1, sizeof(*sorted));
    double rest_j = 0;

    if (!sorted)
        return -ENOMEM;
    if (report->n_others == 0)
        return 0;
    memcpy(sorted, report->others, report->n_others * sizeof(*sorted));
    qsort(sorted, report->n_others, sizeof(*sorted), by_joules);
    (void)fputs("other containers during ", out);
    print_safe(out, report->name);
    for (size_t i = 0; i < report->n_others; i++) {
        double joules = (double)sorted[i].dynamic_uj / 1e6;

        if (i >= OTHERS_SHOWN) {
            rest_j += joules;
            continue;
        }
        (void)fputs(i == 0 ? ": " : ", ", out);
        print_other(&sorted[i], out);
        (void)fprintf(out, " %.3f J%s", joules, marked);
    }
    if (report->n_others > OTHERS_SHOWN)
        (void)fprintf(out, ", %zu more %.3f J%s", report->n_others - OTHERS_SHOWN, rest_j, marked);
    (void)fputc('\n', out);
    return 0;
}

static void print_missing(const struct cb_report *report, FILE *out)
{
    for (size_t i = 0; i < report->n_phases; i++) {
        const struct cb_report_phase *p = &report->phases[i];

        if (p->covered_seconds >= p->seconds * COVERED_ENOUGH && p->n_domains > 0)
            continue;
        print_safe(out, report->name);
        (void)fputs(", ", out);
        print_safe(out, p->phase);
        if (p->n_domains == 0)
            (void)fputs(
                ": no energy is known: the sensor has no energy source, or sent no frames\n", out);
        else
            (void)fprintf(out, ": frames cover only %.3f of %.3f s\n", p->covered_seconds,
                          p->seconds);
    }
}

static int print_notes(const struct page *page, FILE *out)
{
    bool estimate = false;
    int r = 0;

    for (size_t c = 0; r == 0 && c < page->n; c++) {
        estimate |= has_estimate(&page->reports[c]);
        r = print_others(&page->reports[c], out);
        print_missing(&page->reports[c], out);
    }
    if (estimate)
        (void)fputs(
            "(estimate): computed from the use of the CPUs, NOT measured: the machine gives "
            "no energy counters.\n",
            out);
    return r;
}

int cb_render_reports(const struct cb_report *reports, size_t n, FILE *out, struct cb_err *err)
{
    struct page page = {.reports = reports, .n = n, .table = cb_table_new(n)};
    cb_auto_free struct sums *sums = calloc(n ? n : 1, sizeof(*sums));
    int r = -ENOMEM;

    if (page.table && sums) {
        head_rows(&page);
        all_phases(&page, sums);
        r = cb_table_print(page.table, out);
    }
    if (r == 0)
        r = print_notes(&page, out);
    page.table = cb_table_free(page.table);
    return r < 0 ? cb_err_set(err, -r, "out of memory") : 0;
}
