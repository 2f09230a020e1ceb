/* SPDX-License-Identifier: Apache-2.0 */
/* test_container_text.c - what the runtimes say of a container (tests/fixtures/runtimes; the Docker
 * texts are cut from what Docker 20.10.24 answered on the build machine, 2026-11-22). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "lib/frame.h"
#include "sensor/container_files.h"
#include "sensor/container_text.h"
#include "sensor/fsread.h"
#include "tests/support/fake_root.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PODMAN "4cd06fd832947f9d269fe60077ab37614d8d5d640a723edf0009af7e68dfa49a"
#define UID "8c8e3b52-1f0a-4f9e-9d6b-0d7f6f5a4c3b"
#define FIXTURES "tests/fixtures/runtimes/"
#define JSON                                                                                       \
    "{\"Id\":\"" A "\",\"Name\":\"/web\",\"State\":{\"Running\":true},"                            \
    "\"Config\":{\"Hostname\":\"a\",\"Image\":\"cb/busy\",\"Labels\":{\"a\":\"b\",\"n\":1}}}"

static char *fixture(const char *name)
{
    char path[128];
    char *text = NULL;

    (void)snprintf(path, sizeof(path), FIXTURES "%s", name);
    assert_int_equal(cb_fsread_all(AT_FDCWD, path, 65536, &text, NULL), 0);
    return text;
}

static int docker(const char *json, struct cb_container_text *text)
{
    *text = (struct cb_container_text){0};
    return cb_container_text_docker(json, strlen(json), text, NULL);
}

static void takes_dockers_name_image_and_labels(void **state)
{
    struct cb_container_text text;

    (void)state;
    assert_int_equal(docker(JSON, &text), 0);
    assert_string_equal(text.name, "web");
    assert_string_equal(text.image, "cb/busy");
    assert_string_equal(text.labels, "{\"a\":\"b\"}");
    cb_container_text_fini(&text);
}

static void leaves_unknown_what_has_another_form(void **state)
{
    static const char *const odd[] = {
        "{}",
        "{\"Name\":5,\"Config\":[]}",
        "{\"Name\":\"/\",\"Config\":{\"Image\":\"\",\"Labels\":null}}",
        "{\"Config\":{\"Labels\":{}}}",
    };
    struct cb_container_text text;

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        assert_int_equal(docker(odd[i], &text), 0);
        assert_null(text.name);
        assert_null(text.image);
        assert_null(text.labels);
    }
}

static void refuses_what_is_of_the_wrong_kind(void **state)
{
    static const char *const bad[] = {"", "5", "{", "{\"Name\":\"\\u0000\"}", "{}{}"};
    struct cb_container_text text = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        size_t n = strlen(bad[i]);

        assert_int_equal(cb_container_text_docker(bad[i], n, &text, NULL), -EINVAL);
        assert_int_equal(cb_container_text_storage(bad[i], n, A, &text, NULL), -EINVAL);
        assert_int_equal(cb_container_text_oci(bad[i], n, &text, NULL), -EINVAL);
    }
    assert_int_equal(cb_container_text_docker("[]", 2, &text, NULL), -EINVAL);
    assert_int_equal(cb_container_text_storage("{}", 2, A, &text, NULL), -EINVAL);
    assert_int_equal(cb_container_text_oci("{}", 2, &text, NULL), -ENOENT);
    assert_null(text.name);
}

static void leaves_out_what_is_too_long_for_a_frame(void **state)
{
    static char json[CB_FRAME_MAX_LABELS + 100];
    const int fits = CB_FRAME_MAX_LABELS - 1 - (int)strlen("{\"a\":\"\"}");
    struct cb_container_text text;

    (void)state;
    (void)snprintf(json, sizeof(json), "{\"Name\":\"%0*d\"}", CB_FRAME_MAX_TEXT, 1);
    assert_int_equal(docker(json, &text), 0);
    assert_null(text.name);
    for (int more = 0; more < 2; more++) {
        (void)snprintf(json, sizeof(json),
                       "{\"Name\":\"/web\",\"Config\":{\"Labels\":{\"a\":\"%0*d\"}}}", fits + more,
                       1);
        assert_int_equal(docker(json, &text), 0);
        assert_string_equal(text.name, "web");
        assert_int_equal(text.labels == NULL, more);
        assert_int_equal(text.labels_cut, more);
        cb_container_text_fini(&text);
    }
}

static void takes_podmans_name_and_image_by_the_id(void **state)
{
    cb_auto_free char *json = fixture("podman-containers.json");
    struct cb_container_text text = {0};

    (void)state;
    assert_int_equal(cb_container_text_storage(json, strlen(json), PODMAN, &text, NULL), 0);
    assert_string_equal(text.name, "web");
    assert_string_equal(text.image, "localhost/cb/box:1.0");
    cb_container_text_fini(&text);
    assert_int_equal(cb_container_text_storage(json, strlen(json), A, &text, NULL), -ENOENT);
    assert_null(text.name);
}

static void podmans_bundle_names_nobody(void **state)
{
    cb_auto_free char *json = fixture("podman-config.json");
    struct cb_container_text text = {0};

    (void)state;
    assert_int_equal(cb_container_text_oci(json, strlen(json), &text, NULL), -ENOENT);
}

static void takes_pod_and_container_from_the_annotations(void **state)
{
    static const struct {
        const char *file, *name, *image, *labels;
    } cases[] = {
        {"cri-containerd-config.json", "shop/web-7c5d/web", "localhost/cb/box:1.0",
         "{\"io.kubernetes.pod.name\":\"web-7c5d\",\"io.kubernetes.pod.namespace\":\"shop\","
         "\"io.kubernetes.container.name\":\"web\"}"},
        {"cri-containerd-sandbox.json", "shop/web-7c5d/POD", NULL,
         "{\"io.kubernetes.pod.name\":\"web-7c5d\",\"io.kubernetes.pod.namespace\":\"shop\","
         "\"io.kubernetes.pod.uid\":\"" UID "\",\"io.kubernetes.container.name\":\"POD\"}"},
        {"crio-config.json", "shop/web-7c5d/web", "registry.example/shop/web:2",
         "{\"io.kubernetes.pod.name\":\"web-7c5d\",\"io.kubernetes.pod.namespace\":\"shop\","
         "\"io.kubernetes.pod.uid\":\"" UID "\",\"io.kubernetes.container.name\":\"web\"}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cb_auto_free char *json = fixture(cases[i].file);
        struct cb_container_text text = {0};

        assert_int_equal(cb_container_text_oci(json, strlen(json), &text, NULL), 0);
        assert_string_equal(text.name, cases[i].name);
        if (cases[i].image)
            assert_string_equal(text.image, cases[i].image);
        else
            assert_null(text.image);
        assert_string_equal(text.labels, cases[i].labels);
        cb_container_text_fini(&text);
    }
}

/* "No limit" is 2^64 - 1 in a bundle, more than an integer of jansson's. */
static void a_limit_without_end_costs_no_name(void **state)
{
    static const char json[] =
        "{\"process\":{\"rlimits\":[{\"type\":\"RLIMIT_MEMLOCK\",\"hard\":18446744073709551615,"
        "\"soft\":18446744073709551615}]},\"annotations\":{\"io.kubernetes.pod.name\":\"web\","
        "\"io.kubernetes.pod.namespace\":\"shop\",\"io.kubernetes.container.name\":\"c\"}}";
    struct cb_container_text text = {0};

    (void)state;
    assert_int_equal(cb_container_text_oci(json, strlen(json), &text, NULL), 0);
    assert_string_equal(text.name, "shop/web/c");
    cb_container_text_fini(&text);
}

static void a_label_is_added_but_never_replaced(void **state)
{
    struct cb_container_text text = {0};

    (void)state;
    cb_container_text_add_label(&text, "a", "1");
    assert_string_equal(text.labels, "{\"a\":\"1\"}");
    cb_container_text_add_label(&text, "a", "2");
    cb_container_text_add_label(&text, "b", "3");
    assert_string_equal(text.labels, "{\"a\":\"1\",\"b\":\"3\"}");
    cb_container_text_fini(&text);
}

/* ---- files ---- */

static void finds_a_container_in_every_runtimes_place(void **state)
{
    static const struct {
        const char *fixture, *path, *id, *cgroup, *name;
    } places[] = {
        {NULL, "var/lib/docker/containers/" A "/config.v2.json", A, "/docker/" A, "web"},
        {"podman-containers.json", "var/lib/containers/storage/overlay-containers/containers.json",
         PODMAN, "/machine.slice/libpod-" PODMAN ".scope", "web"},
        {"podman-containers.json",
         "var/lib/containers/storage/vfs-containers/volatile-containers.json", PODMAN,
         "/libpod_parent/libpod-" PODMAN, "web"},
        {"crio-config.json",
         "var/lib/containers/storage/overlay-containers/" A "/userdata/config.json", A,
         "/kubepods.slice/crio-" A ".scope", "shop/web-7c5d/web"},
        {"cri-containerd-config.json",
         "run/containerd/io.containerd.runtime.v2.task/k8s.io/" A "/config.json", A,
         "/kubepods/pod1/" A, "shop/web-7c5d/web"},
        {"cri-containerd-config.json",
         "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/" A "/config.json", A,
         "/kubepods.slice/cri-containerd-" A ".scope", "shop/web-7c5d/web"},
        {"cri-containerd-config.json",
         "run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io/" A "/config.json", A,
         "/kubepods/pod1/" A, "shop/web-7c5d/web"},
        {NULL, "home/ann/.local/share/docker/containers/" A "/config.v2.json", A,
         "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" A ".scope", "web"},
        {"podman-containers.json",
         "home/ann/.local/share/containers/storage/overlay-containers/containers.json", PODMAN,
         "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" PODMAN ".scope", "web"},
    };
    struct fake_root *root = *state;

    fake_root_put(root, "etc/passwd",
                  "root:x:0:0:root:/root:/bin/sh\nbroken\nx:y:z:0::/nowhere:\n"
                  "ann:x:1000:1000:Ann:/home/ann:/bin/sh\n");
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        cb_auto_free char *json = places[i].fixture ? fixture(places[i].fixture) : strdup(JSON);
        struct cb_container_text text = {0};

        assert_int_equal(
            cb_container_files_look_up(root->fd, places[i].id, places[i].cgroup, &text, NULL),
            -ENOENT);
        fake_root_put(root, places[i].path, "%s", json);
        assert_int_equal(
            cb_container_files_look_up(root->fd, places[i].id, places[i].cgroup, &text, NULL), 0);
        assert_string_equal(text.name, places[i].name);
        cb_container_text_fini(&text);
        assert_int_equal(unlinkat(root->fd, places[i].path, 0), 0);
    }
}

/* Users own the directories of their containers: a pipe there would hold the sensor up for ever,
 * and a device may do something when it is opened. */
static void what_is_no_file_is_not_opened(void **state)
{
    struct fake_root *root = *state;
    struct cb_container_text text = {0};
    int fds = count_open_fds();

    fake_root_put(root, "var/lib/docker/containers/" A "/other", "x");
    assert_int_equal(mkfifoat(root->fd, "var/lib/docker/containers/" A "/config.v2.json", 0600), 0);
    (void)alarm(10);
    assert_int_equal(cb_container_files_look_up(root->fd, A, "/docker/" A, &text, NULL), -ENOENT);
    (void)alarm(0);
    assert_int_equal(count_open_fds(), fds);
}

static void another_users_container_is_not_looked_up_in_ones_home(void **state)
{
    struct fake_root *root = *state;
    struct cb_container_text text = {0};

    fake_root_put(root, "etc/passwd", "ann:x:1000:1000:Ann:/home/ann:/bin/sh\n");
    fake_root_put(root, "home/ann/.local/share/docker/containers/" A "/config.v2.json", "%s", JSON);
    assert_int_equal(cb_container_files_look_up(root->fd, A,
                                                "/user.slice/user-1001.slice/docker-" A ".scope",
                                                &text, NULL),
                     -ENOENT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_dockers_name_image_and_labels),
        cmocka_unit_test(leaves_unknown_what_has_another_form),
        cmocka_unit_test(refuses_what_is_of_the_wrong_kind),
        cmocka_unit_test(leaves_out_what_is_too_long_for_a_frame),
        cmocka_unit_test(takes_podmans_name_and_image_by_the_id),
        cmocka_unit_test(podmans_bundle_names_nobody),
        cmocka_unit_test(a_limit_without_end_costs_no_name),
        cmocka_unit_test(takes_pod_and_container_from_the_annotations),
        cmocka_unit_test(a_label_is_added_but_never_replaced),
        TEST(finds_a_container_in_every_runtimes_place),
        TEST(what_is_no_file_is_not_opened),
        TEST(another_users_container_is_not_looked_up_in_ones_home),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
