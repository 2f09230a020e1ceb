/* SPDX-License-Identifier: Apache-2.0 */
/* keeper.c - see keeper.h. */
#include "formula/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/recap.h"
#include "formula/store.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define WAIT_NS (10 * CB_NS_PER_S)
#define AGE_EVERY_NS (60 * CB_NS_PER_S)
#define AT_ONCE 500
#define LOG_EVERY_NS (60 * CB_NS_PER_S)
/* A test whose end is never covered gets a recap of what there is after a day. */
#define STALE_NS (UINT64_C(24) * 3600 * CB_NS_PER_S)
/* So long a test whose recap could not be made is left alone, and so many at a time. */
#define PUT_OFF_NS (300 * CB_NS_PER_S)
#define PUT_OFF_MAX 64

struct cb_keeper {
    struct cb_keeper_options o;
    struct cb_store *store;
    pthread_t thread;
    uint64_t aged_ns;
    struct put_off {
        char id[CB_TEST_ID_SIZE]; /* "": a free place */
        uint64_t until_ns;
    } put_off[PUT_OFF_MAX]; /* tests whose recap could not be made */
    struct cb_log_limit store_log, recap_log, age_log;
};

/* ---- recaps ---- */

static bool is_put_off(const struct cb_keeper *keeper, const char *id, uint64_t now_ns)
{
    for (size_t i = 0; i < PUT_OFF_MAX; i++)
        if (strcmp(keeper->put_off[i].id, id) == 0)
            return keeper->put_off[i].until_ns > now_ns;
    return false;
}

/* Where all places are taken, the one that is due first makes room: it is tried again earlier. */
static void put_off(struct cb_keeper *keeper, const char *id, uint64_t now_ns)
{
    struct put_off *place = &keeper->put_off[0];

    for (size_t i = 0; i < PUT_OFF_MAX; i++) {
        struct put_off *one = &keeper->put_off[i];

        if (strcmp(one->id, id) == 0) {
            place = one;
            break;
        }
        if (one->until_ns < place->until_ns)
            place = one;
    }
    place->until_ns = now_ns + PUT_OFF_NS;
    memcpy(place->id, id, sizeof(place->id));
}

/* What is wrong with the store, not with one test. */
static bool is_of_the_store(int r)
{
    return r == -EBUSY || r == -ENOSPC || r == -EROFS || r == -EACCES;
}

/* What concerns the test alone is logged here and is 0: the next one is to have its turn. */
static int finish_one(struct cb_keeper *keeper, const char *id, struct cb_err *err)
{
    struct cb_store_test test;
    int r = cb_store_test(keeper->store, id, &test, err);

    if (r == 0)
        r = cb_recap_finish(keeper->store, &test, keeper->o.sinks, keeper->o.n_sinks, err);
    if (r == 0) {
        cb_notify_bump(keeper->o.notify);
    } else if (!is_of_the_store(r)) {
        cb_log_limited(&keeper->recap_log, LOG_EVERY_NS, CB_LOG_ERR,
                       "the recap of test %s cannot be made, trying again in %d s: %s", id,
                       (int)(PUT_OFF_NS / CB_NS_PER_S), err->text);
        put_off(keeper, id, cb_clock_boot_ns());
        r = 0;
    }
    return r;
}

/* Every one that is ripe, once. */
static void finish_tests(struct cb_keeper *keeper)
{
    uint64_t wall = cb_clock_wall_ns();
    uint64_t stale = wall > STALE_NS ? wall - STALE_NS : 0;
    char id[CB_TEST_ID_SIZE] = "";
    struct cb_err err = {0};
    int r;

    do {
        r = cb_store_next_ripe_test(keeper->store, stale, id, id, &err);
        if (r == 0 && !is_put_off(keeper, id, cb_clock_boot_ns()))
            r = finish_one(keeper, id, &err);
    } while (r == 0);
    if (r != -ENOENT)
        cb_log_limited(&keeper->store_log, LOG_EVERY_NS, CB_LOG_ERR,
                       "recaps cannot be made, trying again: %s", err.text);
}

/* ---- what is old ---- */

/* What one call left for the next: -errno, or the number of rows it took. */
static int age_once(struct cb_keeper *keeper, uint64_t wall, struct cb_err *err)
{
    uint64_t full_ns = keeper->o.retention_ns;
    uint64_t all_ns = keeper->o.coarse_ns > full_ns ? keeper->o.coarse_ns : full_ns;
    int coarse = 0;
    int gone;

    if (all_ns > full_ns)
        coarse = cb_store_coarsen(keeper->store, wall - full_ns, AT_ONCE, err);
    if (coarse < 0 || wall < all_ns)
        return coarse;
    gone = cb_store_forget(keeper->store, wall - all_ns, AT_ONCE, err);
    return gone < 0 ? gone : coarse > gone ? coarse : gone;
}

static int age_frames(struct cb_keeper *keeper, uint64_t wall)
{
    struct cb_err err = {0};
    int r;

    if (keeper->o.retention_ns == 0 || wall < keeper->o.retention_ns)
        return 0;
    r = age_once(keeper, wall, &err);
    if (r < 0)
        cb_log_limited(&keeper->age_log, LOG_EVERY_NS, CB_LOG_WARN,
                       "old frames cannot be summed up or deleted, trying again: %s", err.text);
    return r;
}

static int age_tests(struct cb_keeper *keeper, uint64_t wall)
{
    struct cb_err err = {0};
    int r = cb_store_age_tests(keeper->store, wall, keeper->o.recaps_ns, AT_ONCE, &err);

    if (r < 0)
        cb_log_limited(&keeper->age_log, LOG_EVERY_NS, CB_LOG_WARN,
                       "old tests cannot be deleted, trying again: %s", err.text);
    return r;
}

/* Little by little, so that ingest never waits long for the lock; the rest at the next turn. */
static void age(struct cb_keeper *keeper)
{
    uint64_t now = cb_clock_boot_ns();
    uint64_t wall = cb_clock_wall_ns();
    int frames;
    int tests;

    if (now < keeper->aged_ns + AGE_EVERY_NS)
        return;
    frames = age_frames(keeper, wall);
    tests = age_tests(keeper, wall);
    if (frames < AT_ONCE && tests < AT_ONCE)
        keeper->aged_ns = now;
}

static void *run(void *context)
{
    struct cb_keeper *keeper = context;
    uint64_t seen;

    do {
        seen = cb_notify_generation(keeper->o.notify);
        finish_tests(keeper);
        age(keeper);
    } while (cb_notify_wait(keeper->o.notify, seen, WAIT_NS));
    return NULL;
}

int cb_keeper_start(const struct cb_keeper_options *options, struct cb_keeper **ret_keeper,
                    struct cb_err *err)
{
    struct cb_keeper *keeper = calloc(1, sizeof(*keeper));
    int r;

    if (!keeper)
        return cb_err_set(err, ENOMEM, "out of memory");
    keeper->o = *options;
    r = cb_store_open(options->database, CB_STORE_WRITE, &keeper->store, err);
    if (r == 0) {
        r = -pthread_create(&keeper->thread, NULL, run, keeper);
        if (r < 0)
            r = cb_err_set(err, -r, "cannot start a thread");
    }
    if (r < 0) {
        (void)cb_store_close(keeper->store);
        free(keeper);
        return r;
    }
    *ret_keeper = keeper;
    return 0;
}

struct cb_keeper *cb_keeper_stop(struct cb_keeper *keeper)
{
    if (!keeper)
        return NULL;
    (void)pthread_join(keeper->thread, NULL);
    keeper->store = cb_store_close(keeper->store);
    free(keeper);
    return NULL;
}
