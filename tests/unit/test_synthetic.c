/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/link.h"
#include "sensor/options.h"
#include "sensor/synthetic.h"
#include "tests/support/fake_root.h"

#define START "0123456789abcdef0123456789abcdef"
#define FRAMES 20

static void takes_a_seed_a_number_of_containers_and_a_ledger(void **state)
{
    struct cb_synthetic_spec spec;

    (void)state;
    assert_int_equal(cb_synthetic_parse("seed=7", &spec, NULL), 0);
    assert_int_equal(spec.seed, 7);
    assert_int_equal(spec.containers, 50);
    assert_string_equal(spec.ledger, "");
    assert_int_equal(cb_synthetic_parse("containers=3,ledger=/a/b=c,seed=0", &spec, NULL), 0);
    assert_int_equal(spec.containers, 3);
    assert_string_equal(spec.ledger, "/a/b=c");
}

static void names_what_is_wrong(void **state)
{
    static const char *const bad[] = {
        "",        "seed",    "seed=", "seed=-1", "containers=0", "colour=1", "containers=2001",
        "ledger=", "seed=1,,"};
    struct cb_synthetic_spec spec;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_err err = {0};

        assert_int_equal(cb_synthetic_parse(bad[i], &spec, &err), -EINVAL);
        assert_non_null(strstr(err.text, "seed=N"));
    }
}

static void no_two_seeds_share_a_boot_id(void **state)
{
    const uint64_t seeds[] = {0, 1, UINT64_C(1) << 32, UINT64_C(1) << 48, 77};
    char ids[5][CB_BOOT_ID_SIZE];

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        cb_synthetic_boot_id(&(struct cb_synthetic_spec){.seed = seeds[i]}, ids[i]);
        assert_int_equal(strlen(ids[i]), 36);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(ids[i], ids[j]);
    }
}

static void only_a_name_that_says_so_may_be_synthetic(void **state)
{
    char program[] = "cbsensor", what[] = "--synthetic=seed=1";
    char plain[] = "--name=node1", labelled[] = "--name=synthetic-1";
    char *argv[] = {program, what, plain};
    struct cb_sensor_options options;
    struct cb_err err = {0};

    (void)state;
    assert_int_equal(cb_sensor_options_parse(3, argv, &options, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--name"));
    argv[2] = labelled;
    assert_int_equal(cb_sensor_options_parse(3, argv, &options, &err), 0);
    assert_int_equal(options.synthetic_spec.seed, 1);
}

/* Frames without a server: they stay in the spool, in memory. */
static struct cb_outbox *lonely_outbox(void)
{
    const struct cb_outbox_options options = {
        .spool_dir_fd = -1,
        .link = {.endpoint = "tcp://127.0.0.1:1",
                 .sensor = "synthetic-1",
                 .boot_id = "00000000-5eed-4000-8000-000000000001",
                 .start_id = START,
                 .version = "1"},
    };
    struct cb_outbox *outbox = NULL;
    struct cb_err err = {0};

    if (cb_outbox_open(&options, &outbox, &err) < 0)
        fail_msg("%s", err.text);
    return outbox;
}

static void every_frame_is_in_the_ledger_and_its_intervals_touch(void **state)
{
    struct fake_root *root = *state;
    struct cb_synthetic_spec spec = {.seed = 1, .containers = 5};
    struct cb_outbox *outbox = lonely_outbox();
    struct cb_outbox_stats stats;
    const struct cb_synthetic_options options = {
        .spec = &spec,
        .sensor = "synthetic-1",
        .boot_id = "00000000-5eed-4000-8000-000000000001",
        .start_id = START,
        .outbox = outbox,
        .tick_ns = CB_NS_PER_S / 500,
        .frames = FRAMES,
        .signal_fd = -1,
    };
    uint64_t last_ns = 0, at[6];
    struct cb_err err = {0};
    char id[64];
    unsigned n = 0;
    FILE *ledger;

    (void)snprintf(spec.ledger, sizeof(spec.ledger), "%s/ledger", root->dir);
    assert_int_equal(cb_synthetic_run(&options, &err), 0);
    do
        cb_outbox_stats(outbox, &stats);
    while (stats.held_frames < FRAMES);
    assert_int_equal(stats.held_frames, FRAMES);
    ledger = fopen(spec.ledger, "re");
    assert_non_null(ledger);
    while (fscanf(ledger,
                  "%63s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, id,
                  &at[0], &at[1], &at[2], &at[3], &at[4], &at[5]) == 7) {
        assert_string_equal(id, START);
        assert_int_equal(at[0], ++n);
        assert_true(n == 1 || at[1] == last_ns);
        assert_true(at[2] > at[1] && at[3] < at[0]);
        assert_true(at[4] > at[5] && at[5] > 0);
        last_ns = at[2];
    }
    assert_int_equal(n, FRAMES);
    (void)fclose(ledger);
    outbox = cb_outbox_close(outbox, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_seed_a_number_of_containers_and_a_ledger),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(no_two_seeds_share_a_boot_id),
        cmocka_unit_test(only_a_name_that_says_so_may_be_synthetic),
        cmocka_unit_test_setup_teardown(every_frame_is_in_the_ledger_and_its_intervals_touch,
                                        fake_root_setup, fake_root_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
