/* SPDX-License-Identifier: Apache-2.0 */
/* pages.c - see pages.h. */
#include "formula/pages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"

#define FULL 1 /* what ends a walk at the end of a page */

/* A row's own copies; one of the two. */
struct row {
    struct cb_store_frame frame;
    struct cb_store_usage usage;
    void *bytes;
    char *names;
};

struct page {
    size_t n, bytes;
    struct row *rows; /* CB_PAGES_ROWS */
    uint64_t from_wall_ns;
    int64_t after; /* of those of from_wall_ns the last that was told */
};

static void clear_page(struct page *page)
{
    for (size_t i = 0; i < page->n; i++) {
        free(page->rows[i].bytes);
        free(page->rows[i].names);
    }
    page->n = page->bytes = 0;
}

static bool is_told(const struct page *page, uint64_t wall_ns, int64_t id)
{
    return wall_ns == page->from_wall_ns && id <= page->after;
}

/* The next row, with its own copy of what is packed. */
static int add_row(struct page *page, const void *bytes, size_t size, struct row **ret_row,
                   struct cb_err *err)
{
    struct row *row = &page->rows[page->n];

    *row = (struct row){.bytes = malloc(size ? size : 1)};
    if (!row->bytes)
        return cb_err_set(err, ENOMEM, "out of memory");
    memcpy(row->bytes, bytes, size);
    page->n++;
    page->bytes += size;
    *ret_row = row;
    return page->n == CB_PAGES_ROWS || page->bytes >= CB_PAGES_BYTES ? FULL : 0;
}

static int take_frame(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct page *page = context;
    struct row *row;
    int r;

    if (is_told(page, frame->wall_ns, frame->id))
        return 0;
    r = add_row(page, frame->result, frame->result_size, &row, err);
    if (r >= 0) {
        row->frame = *frame;
        row->frame.result = row->bytes;
    }
    return r;
}

static int take_usage(void *context, const struct cb_store_usage *usage, struct cb_err *err)
{
    struct page *page = context;
    struct row *row;
    int r;

    if (is_told(page, usage->wall_ns, usage->frame))
        return 0;
    r = add_row(page, usage->bytes, usage->size, &row, err);
    if (r < 0)
        return r;
    row->names = strdup(usage->names);
    if (!row->names)
        return cb_err_set(err, ENOMEM, "out of memory");
    row->usage = *usage;
    row->usage.bytes = row->bytes;
    row->usage.names = row->names;
    return r;
}

/* One of the two kinds of walks. */
struct walk {
    struct cb_store *store;
    int64_t machine;
    uint64_t to_wall_ns;
    cb_store_each_frame *each_frame;
    cb_store_each_usage *each_usage;
    void *context;
};

static int read_page(const struct walk *walk, struct page *page, struct cb_err *err)
{
    if (walk->each_frame)
        return cb_store_frames_by_wall(walk->store, walk->machine, page->from_wall_ns,
                                       walk->to_wall_ns, take_frame, page, err);
    return cb_store_usage_by_wall(walk->store, walk->machine, page->from_wall_ns, walk->to_wall_ns,
                                  take_usage, page, err);
}

static int tell_page(const struct walk *walk, struct page *page, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < page->n && r == 0; i++) {
        const struct row *row = &page->rows[i];

        if (walk->each_frame) {
            page->from_wall_ns = row->frame.wall_ns;
            page->after = row->frame.id;
            r = walk->each_frame(walk->context, &row->frame, err);
        } else {
            page->from_wall_ns = row->usage.wall_ns;
            page->after = row->usage.frame;
            r = walk->each_usage(walk->context, &row->usage, err);
        }
    }
    return r;
}

static int run(const struct walk *walk, uint64_t from_wall_ns, struct cb_err *err)
{
    struct page page = {.rows = calloc(CB_PAGES_ROWS, sizeof(*page.rows)),
                        .from_wall_ns = from_wall_ns};
    bool more = true;
    int r = page.rows ? 0 : cb_err_set(err, ENOMEM, "out of memory");

    while (r == 0 && more) {
        r = read_page(walk, &page, err);
        more = r == FULL;
        if (r >= 0)
            r = tell_page(walk, &page, err);
        clear_page(&page);
    }
    free(page.rows);
    return r;
}

int cb_pages_frames(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                    uint64_t to_wall_ns, cb_store_each_frame *each, void *context,
                    struct cb_err *err)
{
    const struct walk walk = {.store = store,
                              .machine = machine,
                              .to_wall_ns = to_wall_ns,
                              .each_frame = each,
                              .context = context};

    return run(&walk, from_wall_ns, err);
}

int cb_pages_usage(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                   uint64_t to_wall_ns, cb_store_each_usage *each, void *context,
                   struct cb_err *err)
{
    const struct walk walk = {.store = store,
                              .machine = machine,
                              .to_wall_ns = to_wall_ns,
                              .each_usage = each,
                              .context = context};

    return run(&walk, from_wall_ns, err);
}

/* ---- machines ---- */

struct machines {
    size_t n, capacity;
    struct cb_store_machine *rows;
};

static int take_machine(void *context, const struct cb_store_machine *machine)
{
    struct machines *machines = context;

    if (machines->n == machines->capacity) {
        size_t larger = machines->capacity ? 2 * machines->capacity : 16;
        struct cb_store_machine *moved = realloc(machines->rows, larger * sizeof(*moved));

        if (!moved)
            return -ENOMEM;
        machines->rows = moved;
        machines->capacity = larger;
    }
    machines->rows[machines->n++] = *machine;
    return 0;
}

int cb_pages_machines(struct cb_store *store, cb_store_each_machine *each, void *context,
                      struct cb_err *err)
{
    struct machines machines = {.n = 0};
    int r = cb_store_machines(store, take_machine, &machines, err);

    if (r == -ENOMEM)
        r = cb_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < machines.n && r == 0; i++)
        r = each(context, &machines.rows[i]);
    free(machines.rows);
    return r;
}

/* ---- recaps ---- */

struct recap {
    char *test_id, *document;
};

struct recaps {
    size_t n, bytes;
    struct recap *rows; /* CB_PAGES_ROWS */
    char after[CB_TEST_ID_SIZE];
    struct cb_store_recap_filter filter;
};

static void clear_recaps(struct recaps *recaps)
{
    for (size_t i = 0; i < recaps->n; i++) {
        free(recaps->rows[i].test_id);
        free(recaps->rows[i].document);
    }
    recaps->n = recaps->bytes = 0;
}

static int take_recap(void *context, const char *test_id, const char *document)
{
    struct recaps *recaps = context;
    struct recap *row = &recaps->rows[recaps->n++];

    *row = (struct recap){.test_id = strdup(test_id), .document = strdup(document)};
    if (!row->test_id || !row->document)
        return -ENOMEM;
    recaps->bytes += strlen(document);
    return recaps->n == CB_PAGES_ROWS || recaps->bytes >= CB_PAGES_BYTES ? FULL : 0;
}

static int tell_recaps(struct recaps *recaps, cb_store_each_recap *each, void *context)
{
    int r = 0;

    for (size_t i = 0; i < recaps->n && r == 0; i++) {
        (void)snprintf(recaps->after, sizeof(recaps->after), "%s", recaps->rows[i].test_id);
        recaps->filter.after = recaps->after;
        recaps->filter.limit--;
        r = each(context, recaps->rows[i].test_id, recaps->rows[i].document);
    }
    return r;
}

int cb_pages_recaps(struct cb_store *store, const struct cb_store_recap_filter *filter,
                    cb_store_each_recap *each, void *context, struct cb_err *err)
{
    struct recaps recaps = {.rows = calloc(CB_PAGES_ROWS, sizeof(*recaps.rows)), .filter = *filter};
    bool more = true;
    int r = recaps.rows ? 0 : -ENOMEM;

    while (r == 0 && more) {
        r = cb_store_recaps(store, &recaps.filter, take_recap, &recaps, err);
        more = r == FULL;
        if (r >= 0)
            r = tell_recaps(&recaps, each, context);
        clear_recaps(&recaps);
    }
    free(recaps.rows);
    return r == -ENOMEM ? cb_err_set(err, ENOMEM, "out of memory") : r;
}
