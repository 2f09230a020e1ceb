/* SPDX-License-Identifier: Apache-2.0 */
/* test_cgroup_id.c - container ids in the names that the runtimes give their cgroups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sensor/cgroup_id.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void finds_the_id_in_every_runtimes_form(void **state)
{
    static const char *const names[] = {
        HEX,
        "docker-" HEX ".scope",
        "libpod-" HEX,
        "libpod-" HEX ".scope",
        "libpod-payload-" HEX,
        "cri-containerd-" HEX ".scope",
        "crio-" HEX ".scope",
        "containerd-" HEX ".scope",
        "kubepods-burstable-pod8c8e.slice:cri-containerd:" HEX,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char id[CB_CONTAINER_ID_SIZE] = "";

        assert_true(cb_cgroup_id_parse(names[i], id));
        assert_string_equal(id, HEX);
    }
}

static void leaves_other_names_alone(void **state)
{
    static const char *const names[] = {
        "",
        ".scope",
        "docker",
        "system.slice",
        "docker-.scope",
        "crio-conmon-" HEX ".scope",
        "libpod-conmon-" HEX ".scope",
        "x" HEX,
        HEX "0",
        HEX ".slice",
        "docker-" HEX ".scope.d",
        "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        "0123456789abcdeg0123456789abcdef0123456789abcdef0123456789abcdef",
        "pod0123456789abcdef",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char id[CB_CONTAINER_ID_SIZE] = "untouched";

        assert_false(cb_cgroup_id_parse(names[i], id));
        assert_string_equal(id, "untouched");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_id_in_every_runtimes_form),
        cmocka_unit_test(leaves_other_names_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
