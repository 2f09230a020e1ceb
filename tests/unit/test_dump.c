/* SPDX-License-Identifier: Apache-2.0 */
/* test_dump.c - sensor/dump.c: a frame as a line of JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "sensor/dump.h"

static void both_kinds_of_cores_are_in_a_hybrid_cpus_count(void **state)
{
    struct cb_frame_event events[] = {
        {"cycles", "cpu_core", 0}, {"cycles", "cpu_atom", 1}, {"cpu-clock", "software", 2}};
    uint64_t counts[] = {100, 20, 3};
    uint64_t times[] = {1, 1, 1};
    const struct cb_frame f = {.sensor = "s",
                               .boot_id = "b",
                               .start_id = "i",
                               .n_sockets = 1,
                               .n_events = 3,
                               .n_groups = 3,
                               .events = events,
                               .counts = counts,
                               .enabled_ns = times,
                               .running_ns = times};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    json_t *root;
    const json_t *row;

    (void)state;
    assert_non_null(out);
    assert_int_equal(cb_dump_frame(out, &f, NULL), 0);
    assert_int_equal(fclose(out), 0);
    root = json_loads(text, 0, NULL);
    row = json_object_get(json_object_get(root, "machine"), "counts");
    assert_int_equal(json_object_size(row), 2);
    assert_int_equal(json_integer_value(json_object_get(row, "cycles")), 120);
    assert_int_equal(json_integer_value(json_object_get(row, "cpu-clock")), 3);
    json_decref(root);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kinds_of_cores_are_in_a_hybrid_cpus_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
