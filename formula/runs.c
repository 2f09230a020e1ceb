/* SPDX-License-Identifier: Apache-2.0 */
/* runs.c - see runs.h. */
#include "formula/runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/power.h"
#include "formula/wall.h"
#include "lib/err.h"

struct finder {
    struct cb_store *store;
    const struct cb_runs_query *query;
    struct cb_runs *runs;
    struct cb_err *err;
    /* while one boot is looked through for one container */
    struct cb_names names;
    struct cb_result result;
    struct cb_store_test found;
};

void cb_runs_clear(struct cb_runs *runs)
{
    free(runs->runs);
    *runs = (struct cb_runs){0};
}

static int add(struct cb_runs *runs, const struct cb_store_test *run, struct cb_err *err)
{
    if (runs->n == runs->capacity) {
        size_t larger = runs->capacity ? 2 * runs->capacity : 8;
        struct cb_store_test *moved = realloc(runs->runs, larger * sizeof(*moved));

        if (!moved)
            return cb_err_set(err, ENOMEM, "out of memory");
        runs->runs = moved;
        runs->capacity = larger;
    }
    runs->runs[runs->n++] = *run;
    return 0;
}

/* ---- cutting ---- */

static int cut_at(struct finder *finder, int64_t machine, uint64_t wall_ns,
                  struct cb_store_test *run, uint64_t *bound_ns, bool is_end, struct cb_err *err)
{
    struct cb_store_moment moment = {.boot = 0};
    int r = cb_store_moment(finder->store, machine, wall_ns, &moment, err);
    uint64_t ns;

    if (r < 0 || moment.boot != run->boot)
        return r == -ENOENT ? 0 : r;
    ns = cb_wall_to_boot(&moment, wall_ns);
    if (is_end ? ns < *bound_ns : ns > *bound_ns)
        *bound_ns = ns;
    return 0;
}

/* Cut to the query's times and keep what is left. */
static int keep(struct finder *finder, const struct cb_store_boot *boot, struct cb_store_test *run,
                struct cb_err *err)
{
    const struct cb_runs_query *query = finder->query;
    int r = 0;

    run->boot = boot->id;
    memcpy(run->machine, boot->machine_name, sizeof(run->machine));
    memcpy(run->boot_id, boot->boot_id, sizeof(run->boot_id));
    if (query->from_wall_ns > 0)
        r = cut_at(finder, boot->machine, query->from_wall_ns, run, &run->begin_ns, false, err);
    if (r == 0 && query->to_wall_ns < INT64_MAX)
        r = cut_at(finder, boot->machine, query->to_wall_ns, run, &run->end_ns, true, err);
    if (r == 0 && run->begin_ns < run->end_ns)
        r = add(finder->runs, run, err);
    return r;
}

/* ---- tests ---- */

static int take_recap(void *context, const char *test_id, const char *document)
{
    struct finder *finder = context;
    struct cb_store_test test = {.boot = 0};
    struct cb_store_boot boot;
    struct cb_store_test run;
    int r = cb_store_test(finder->store, test_id, &test, finder->err);

    (void)document;
    if (r == 0)
        r = cb_store_boot(finder->store, test.boot, &boot, finder->err);
    if (r < 0)
        return r;
    run = (struct cb_store_test){.begin_ns = test.begin_ns, .end_ns = test.end_ns};
    memcpy(run.id, test.id, sizeof(run.id));
    memcpy(run.name, test.name, sizeof(run.name));
    memcpy(run.image, test.image, sizeof(run.image));
    memcpy(run.container_id, test.container_id, sizeof(run.container_id));
    return keep(finder, &boot, &run, finder->err);
}

static int find_tests(struct finder *finder)
{
    const struct cb_store_recap_filter filter = {.machine = finder->query->machine,
                                                 .name = finder->query->name,
                                                 .limit = finder->query->last};

    return cb_store_recaps(finder->store, &filter, take_recap, finder, finder->err);
}

static void reverse(struct cb_runs *runs)
{
    for (size_t i = 0; i < runs->n / 2; i++) {
        struct cb_store_test one = runs->runs[i];

        runs->runs[i] = runs->runs[runs->n - 1 - i];
        runs->runs[runs->n - 1 - i] = one;
    }
}

/* ---- containers ---- */

static int see_frame(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct finder *finder = context;
    int r = cb_result_unpack(frame->result, frame->result_size, &finder->result, err);

    for (size_t i = 0; i < finder->result.n_targets && r == 0; i++) {
        const struct cb_store_target *target;

        r = cb_names_get(&finder->names, frame->start, finder->result.target_ids[i], &target, err);
        if (r < 0 || strcmp(target->container_id, finder->found.container_id) != 0)
            continue;
        if (finder->found.begin_ns > frame->t0_ns)
            finder->found.begin_ns = frame->t0_ns;
        if (finder->found.end_ns < frame->t1_ns)
            finder->found.end_ns = frame->t1_ns;
    }
    return r;
}

static int take_sighting(void *context, int64_t boot_row, const char *container_id,
                         const char *name, struct cb_err *err)
{
    struct finder *finder = context;
    struct cb_store_test *run = &finder->found;
    struct cb_store_boot boot;
    int r = cb_store_boot(finder->store, boot_row, &boot, err);

    *run = (struct cb_store_test){.begin_ns = UINT64_MAX};
    (void)snprintf(run->container_id, sizeof(run->container_id), "%s", container_id);
    (void)snprintf(run->name, sizeof(run->name), "%s", name);
    if (r == 0)
        r = cb_store_frames(finder->store, boot_row, 0, INT64_MAX, see_frame, finder, err);
    return r < 0 ? r : keep(finder, &boot, run, err);
}

/* ---- machines ---- */

static int take_span(void *context, int64_t boot_row, uint64_t t0_ns, uint64_t t1_ns,
                     struct cb_err *err)
{
    struct finder *finder = context;
    struct cb_store_test run = {.begin_ns = t0_ns, .end_ns = t1_ns};
    struct cb_store_boot boot;
    int r = cb_store_boot(finder->store, boot_row, &boot, err);

    return r < 0 ? r : keep(finder, &boot, &run, err);
}

static int take_machine(void *context, const struct cb_store_machine *machine)
{
    struct finder *finder = context;
    const struct cb_runs_query *query = finder->query;

    if (query->machine && strcmp(query->machine, machine->name) != 0)
        return 0;
    return cb_store_spans(finder->store, machine->id, query->from_wall_ns, query->to_wall_ns,
                          take_span, finder, finder->err);
}

int cb_runs_find(struct cb_store *store, const struct cb_runs_query *query, struct cb_runs *runs,
                 struct cb_err *err)
{
    struct finder finder = {
        .store = store, .query = query, .runs = runs, .err = err, .names = {.store = store}};
    struct cb_store_machine machine;
    int r = query->machine ? cb_store_find_machine(store, query->machine, &machine, err) : 0;

    if (r == 0 && !query->name) {
        r = cb_store_machines(store, take_machine, &finder, err);
    } else if (r == 0) {
        r = find_tests(&finder);
        reverse(runs); /* they came newest first */
        if (r == 0 && runs->n == 0)
            r = cb_store_sightings(store, query->name, query->machine, take_sighting, &finder, err);
    }
    cb_names_clear(&finder.names);
    cb_result_clear(&finder.result);
    if (r < 0)
        cb_runs_clear(runs);
    return r;
}
