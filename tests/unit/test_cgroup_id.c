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

static void a_pod_of_podman_is_no_container(void **state)
{
    static const char *const containers[] = {
        "/libpod_parent/libpod-" HEX,
        "/libpod_parent/" HEX "/libpod-" HEX,
        "/my_libpod_parent/" HEX,
        "/libpod_parent/x/" HEX,
        "/docker/" HEX,
        "/" HEX,
    };
    static const char *const others[] = {
        "/libpod_parent/" HEX, "/user.slice/libpod_parent/" HEX, "/libpod_parent", "/", "",
    };
    char id[CB_CONTAINER_ID_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(containers) / sizeof(containers[0]); i++) {
        id[0] = '\0';
        assert_true(cb_cgroup_id_container(containers[i], id));
        assert_string_equal(id, HEX);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(cb_cgroup_id_container(others[i], id));
}

static void knows_what_may_be_a_pod_and_what_is_in_one(void **state)
{
    static const char *const not_in_pod[] = {
        "libpod-" HEX ".scope",
        "libpod-payload-" HEX,
        "libpod-conmon-" HEX,
        HEX,
        "libpod-" HEX "0",
        "libpod-",
        "init",
        "container",
        "",
    };
    bool container = false;

    (void)state;
    assert_true(cb_cgroup_id_may_be_pod("/my/" HEX));
    assert_true(cb_cgroup_id_may_be_pod("/" HEX));
    assert_false(cb_cgroup_id_may_be_pod("/my/libpod-" HEX));
    assert_false(cb_cgroup_id_may_be_pod("/my/docker-" HEX ".scope"));
    assert_false(cb_cgroup_id_may_be_pod(""));
    assert_true(cb_cgroup_id_is_in_pod("libpod-" HEX, &container));
    assert_true(container);
    assert_true(cb_cgroup_id_is_in_pod("conmon", &container));
    assert_false(container);
    for (size_t i = 0; i < sizeof(not_in_pod) / sizeof(not_in_pod[0]); i++)
        assert_false(cb_cgroup_id_is_in_pod(not_in_pod[i], &container));
}

static void finds_the_guests_of_lxc_libvirt_and_nspawn(void **state)
{
    static const struct {
        const char *path, *runtime, *name;
    } guests[] = {
        {"/lxc.payload.web", "lxc", "web"},
        {"/a.slice/lxc.payload.web-1", "lxc", "web-1"},
        {"/lxc.payload/web", "lxc", "web"},
        {"/lxc/web", "lxc", "web"},
        {"/machine.slice/machine-qemu\\x2d3\\x2dvm\\x2done.scope", "libvirt", "vm-one"},
        {"/machine.slice/machine-qemu\\x2dinstance\\x2dc5.scope", "libvirt", "instance-c5"},
        {"/machine.slice/machine-lxc\\x2d12\\x2dbox.scope", "libvirt", "box"},
        {"/machine/qemu-1-vm.libvirt-qemu", "libvirt", "vm"},
        {"/machine/lxc-7-box.libvirt-lxc", "libvirt", "box"},
        {"/machine/vm.libvirt-qemu", "libvirt", "vm"},
        {"/machine.slice/systemd-nspawn@deb\\x2d12.service", "nspawn", "deb-12"},
        {"/machine.slice/machine-deb.scope", "nspawn", "deb"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(guests) / sizeof(guests[0]); i++) {
        char name[CB_GUEST_NAME_SIZE] = "";
        const char *runtime = cb_cgroup_id_guest(guests[i].path, name);

        assert_non_null(runtime);
        assert_string_equal(runtime, guests[i].runtime);
        assert_string_equal(name, guests[i].name);
    }
}

static void takes_no_monitor_slice_or_service_for_a_guest(void **state)
{
    static const char *const paths[] = {
        "",
        "/",
        "/lxc",
        "/lxc.payload",
        "/lxc.payload.",
        "/lxc.monitor.web",
        "/lxc.monitor/web",
        "/lxc.pivot",
        "/lxc/",
        "/machine.slice",
        "/machine.slice/machine-.scope",
        "/machine.slice/machine-qemu.slice",
        "/machine.slice/systemd-nspawn@.service",
        "/machine.slice/libpod-conmon-1.scope",
        "/machine.slice/machine-a\\x0ab.scope",
        "/machine/x",
        "/other/qemu-1-vm.libvirt-qemu.d",
        "/system.slice/ssh.service",
        "/xlxc/web",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        char name[CB_GUEST_NAME_SIZE];

        assert_null(cb_cgroup_id_guest(paths[i], name));
    }
}

#define UID "8c8e3b52-1f0a-4f9e-9d6b-0d7f6f5a4c3b"
#define UID_SYSTEMD "8c8e3b52_1f0a_4f9e_9d6b_0d7f6f5a4c3b"

static void finds_the_pod_in_both_forms(void **state)
{
    static const char *const paths[] = {
        "/kubepods/burstable/pod" UID "/" HEX,
        "/kubepods/pod" UID "/" HEX,
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_SYSTEMD
        ".slice/cri-containerd-" HEX ".scope",
        "/kubepods.slice/kubepods-pod" UID_SYSTEMD ".slice/crio-" HEX ".scope",
        "/system.slice/kubepods-burstable-pod" UID_SYSTEMD ".slice:cri-containerd:" HEX,
    };
    char uid[CB_POD_UID_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_true(cb_cgroup_id_pod(paths[i], uid));
        assert_string_equal(uid, UID);
    }
    assert_true(cb_cgroup_id_pod("/kubepods/pod0123456789abcdef0123456789abcdef/x", uid));
    assert_false(cb_cgroup_id_pod("/kubepods/podcast/" HEX, uid));
    assert_false(cb_cgroup_id_pod("/libpod_parent/libpod-" HEX, uid));
    assert_false(cb_cgroup_id_pod("/kubepods/xpod" UID "/" HEX, uid));
}

static void finds_the_user_of_a_rootless_runtime(void **state)
{
    (void)state;
    assert_int_equal(
        cb_cgroup_id_user("/user.slice/user-1000.slice/user@1000.service/app.slice/docker-" HEX),
        1000);
    assert_int_equal(cb_cgroup_id_user("/user.slice/user-0.slice"), 0);
    assert_int_equal(cb_cgroup_id_user("/user.slice/user-.slice/x"), -1);
    assert_int_equal(cb_cgroup_id_user("/user.slice/user-12a.slice/x"), -1);
    assert_int_equal(cb_cgroup_id_user("/user.slice/user-99999999999.slice"), -1);
    assert_int_equal(cb_cgroup_id_user("/docker/" HEX), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pod_of_podman_is_no_container),
        cmocka_unit_test(knows_what_may_be_a_pod_and_what_is_in_one),
        cmocka_unit_test(finds_the_guests_of_lxc_libvirt_and_nspawn),
        cmocka_unit_test(takes_no_monitor_slice_or_service_for_a_guest),
        cmocka_unit_test(finds_the_pod_in_both_forms),
        cmocka_unit_test(finds_the_user_of_a_rootless_runtime),
        cmocka_unit_test(finds_the_id_in_every_runtimes_form),
        cmocka_unit_test(leaves_other_names_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
