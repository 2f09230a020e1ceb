/* SPDX-License-Identifier: Apache-2.0 */
/* test_energy_msr.c - sensor/energy_msr.c through energy.h, against made-up register files. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/energy.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

#define TOPOLOGY "sys/devices/system/cpu/cpu%u/topology/%s"

/* ---- the machine ---- */

static void put_cpuinfo(const struct fake_root *root, const char *vendor, unsigned family,
                        unsigned model)
{
    fake_root_put(root, "proc/cpuinfo",
                  "processor\t: 0\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\n"
                  "model name\t: some CPU\n",
                  vendor, family, model);
}

struct cpu {
    unsigned socket;
    const char *siblings;
    const char *die;
};

static void put_cpus(const struct fake_root *root, const struct cpu *cpus, unsigned n)
{
    char path[128];

    fake_root_put(root, "sys/devices/system/cpu/online", "0-%u\n", n - 1);
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), TOPOLOGY, i, "physical_package_id");
        fake_root_put(root, path, "%u\n", cpus[i].socket);
        (void)snprintf(path, sizeof(path), TOPOLOGY, i, "thread_siblings_list");
        fake_root_put(root, path, "%s\n", cpus[i].siblings);
        (void)snprintf(path, sizeof(path), TOPOLOGY, i, "die_cpus_list");
        fake_root_put(root, path, "%s\n", cpus[i].die);
    }
}

static void put_bytes(const struct fake_root *root, unsigned cpu, uint32_t address,
                      const void *bytes, size_t size)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof(path), "dev/cpu/%u/made", cpu);
    fake_root_put(root, path, " ");
    (void)snprintf(path, sizeof(path), "dev/cpu/%u/msr", cpu);
    fd = openat(root->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, (off_t)address), size);
    (void)close(fd);
}

static void put_register(const struct fake_root *root, unsigned cpu, uint32_t address,
                         uint64_t value)
{
    put_bytes(root, cpu, address, &value, sizeof(value));
}

/* AMD's three registers stand one byte apart in a file: unit 2^-16 J, @core (its low byte is the
 * unit's second), package = core / 256. */
static void put_amd(const struct fake_root *root, unsigned cpu, uint32_t core)
{
    uint8_t bytes[10] = {0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0};

    assert_int_equal(core & 0xff, 0x10);
    memcpy(bytes + 1, &core, sizeof(core));
    put_bytes(root, cpu, 0xc0010299, bytes, sizeof(bytes));
}

/* One Intel package of two hyperthreads: unit 2^-14 J. */
static void put_client(const struct fake_root *root)
{
    static const struct cpu cpus[] = {{0, "0-1", "0-1"}, {0, "0-1", "0-1"}};

    put_cpuinfo(root, "GenuineIntel", 6, 0x9e);
    put_cpus(root, cpus, 2);
    put_register(root, 0, 0x606, 0x000a0e03);
    put_register(root, 0, 0x611, 1000);
    put_register(root, 0, 0x619, 2000);
    put_register(root, 0, 0x639, 3000);
    put_register(root, 0, 0x641, 4000);
    put_register(root, 0, 0x64d, 5000);
    put_register(root, 1, 0x606, 0x000a0e03);
    put_register(root, 1, 0x611, 77);
}

static int setup(void **state)
{
    int r = fake_root_setup(state);

    put_client(*state);
    return r;
}

struct opened {
    struct cb_topology topology;
    struct cb_energy *energy;
    struct cb_gaps gaps;
    struct cb_frame_energy at[CB_FRAME_MAX_ENERGIES];
    size_t n;
};

static int try_open(const struct fake_root *root, const char *wanted, struct opened *o,
                    struct cb_err *err)
{
    const struct cb_energy_options options = {
        .root_fd = root->fd,
        .topology = &o->topology,
        .wanted = wanted,
    };

    memset(o, 0, sizeof(*o));
    assert_int_equal(cb_topology_init(&o->topology, root->fd, NULL), 0);
    return cb_energy_open(&options, &o->energy, err);
}

static void close_it(struct opened *o)
{
    o->energy = cb_energy_close(o->energy);
    cb_topology_fini(&o->topology);
}

static void read_it(struct opened *o)
{
    cb_gaps_reset(&o->gaps);
    o->n = cb_energy_read(o->energy, 1000000000, NULL, o->at, &o->gaps);
}

/* UINT64_MAX: there is no such entry. */
static uint64_t energy_of(const struct opened *o, unsigned socket, enum cb_domain domain)
{
    uint64_t sum = UINT64_MAX;

    for (size_t i = 0; i < o->n; i++)
        if (o->at[i].socket == socket && o->at[i].domain == domain) {
            assert_int_equal(o->at[i].source, CB_SOURCE_MSR);
            assert_true(sum == UINT64_MAX);
            sum = o->at[i].energy_uj;
        }
    return sum;
}

static void open_ok(const struct fake_root *root, struct opened *o)
{
    struct cb_err err = {0};

    if (try_open(root, "msr", o, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(cb_energy_name(o->energy), "msr");
}

/* ---- Intel ---- */

static void reads_the_domains_of_a_client(void **state)
{
    struct opened o;

    open_ok(*state, &o);
    put_register(*state, 0, 0x611, 1000 + 16384);
    put_register(*state, 0, 0x619, 2000 + 1);
    put_register(*state, 0, 0x639, 3000 + 8192);
    put_register(*state, 0, 0x641, 4000);
    put_register(*state, 0, 0x64d, 5000 + 32768);
    read_it(&o);
    assert_int_equal(o.n, 5);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 1000000);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_DRAM), 61);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_CORE), 500000);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_UNCORE), 0);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PSYS), 2000000);
    close_it(&o);
}

static void adding_up_the_intervals_loses_nothing(void **state)
{
    struct opened o;
    uint64_t sum_uj = 0;

    open_ok(*state, &o);
    for (unsigned i = 1; i <= 16384; i++) {
        put_register(*state, 0, 0x611, 1000 + i);
        read_it(&o);
        sum_uj += energy_of(&o, 0, CB_DOMAIN_PACKAGE);
    }
    assert_int_equal(sum_uj, 1000000);
    close_it(&o);
}

static void adds_32_bits_back_after_a_wrap(void **state)
{
    struct opened o;

    put_register(*state, 0, 0x611, 0xffffffff);
    open_ok(*state, &o);
    put_register(*state, 0, 0x611, 16383);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 1000000);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 0);
    close_it(&o);
}

static void a_reset_makes_a_gap_and_no_energy(void **state)
{
    struct opened o;

    put_register(*state, 0, 0x611, 0xffffffff - (1500 << 14)); /* as a wrap: 1500 J at once */
    open_ok(*state, &o);
    put_register(*state, 0, 0x611, 5);
    read_it(&o);
    assert_true(energy_of(&o, 0, CB_DOMAIN_PACKAGE) == UINT64_MAX);
    assert_int_equal(o.gaps.n, 1);
    assert_non_null(strstr(o.gaps.reason[0], "0x611 of CPU 0: the counter was reset"));
    put_register(*state, 0, 0x611, 16389);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 1000000);
    assert_int_equal(o.gaps.n, 0);
    close_it(&o);
}

static void a_server_has_its_own_steps_for_dram_and_psys_and_no_cores(void **state)
{
    struct opened o;

    put_cpuinfo(*state, "GenuineIntel", 6, 0x8f);
    open_ok(*state, &o);
    put_register(*state, 0, 0x619, 2000 + 65536);
    put_register(*state, 0, 0x64d, 5000 + 3);
    read_it(&o);
    assert_int_equal(o.n, 3);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_DRAM), 1000000);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PSYS), 3000000);
    close_it(&o);
}

static void reads_one_cpu_of_each_package(void **state)
{
    static const struct cpu cpus[] = {
        {0, "0,2", "0,2"}, {1, "1,3", "1,3"}, {0, "0,2", "0,2"}, {1, "1,3", "1,3"}};
    struct opened o;

    put_cpuinfo(*state, "GenuineIntel", 6, 0x55);
    put_cpus(*state, cpus, 4);
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        put_register(*state, cpu, 0x606, 0x000a0e03);
        put_register(*state, cpu, 0x611, 1000);
        put_register(*state, cpu, 0x619, 0);
    }
    put_register(*state, 0, 0x64d, 0);
    put_register(*state, 1, 0x64d, 1000);
    open_ok(*state, &o);
    for (unsigned cpu = 0; cpu < 4; cpu++)
        put_register(*state, cpu, 0x611, 1000 + 16384 * (cpu + 1));
    put_register(*state, 1, 0x64d, 1000 + 16384);
    read_it(&o);
    assert_int_equal(o.n, 3);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 1000000);
    assert_int_equal(energy_of(&o, 1, CB_DOMAIN_PACKAGE), 2000000);
    assert_int_equal(energy_of(&o, 1, CB_DOMAIN_PSYS), 1000000);
    close_it(&o);
}

static void psys_is_read_once_for_the_whole_machine(void **state)
{
    static const struct cpu cpus[] = {{0, "0", "0"}, {1, "1", "1"}};
    struct opened o;

    put_cpus(*state, cpus, 2);
    put_register(*state, 1, 0x64d, 5000);
    open_ok(*state, &o);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PSYS), 0);
    assert_true(energy_of(&o, 1, CB_DOMAIN_PSYS) == UINT64_MAX);
    close_it(&o);
}

static void the_dies_of_an_intel_package_are_added_up(void **state)
{
    static const struct cpu cpus[] = {{0, "0", "0-1"}, {0, "1", "0-1"}, {0, "2", "2"}};
    struct opened o;

    put_cpuinfo(*state, "GenuineIntel", 6, 0x55);
    put_cpus(*state, cpus, 3);
    put_register(*state, 2, 0x606, 0x000a0e03);
    put_register(*state, 2, 0x611, 500);
    open_ok(*state, &o);
    put_register(*state, 0, 0x611, 1000 + 16384);
    put_register(*state, 2, 0x611, 500 + 8192);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 1500000);
    close_it(&o);
}

/* ---- AMD ---- */

static void amd_adds_up_cores_and_has_no_dram(void **state)
{
    static const struct cpu cpus[] = {
        {0, "0,2", "0-3"}, {0, "1,3", "0-3"}, {0, "0,2", "0-3"}, {0, "1,3", "0-3"}};
    struct opened o;

    put_cpuinfo(*state, "AuthenticAMD", 25, 97);
    put_cpus(*state, cpus, 4);
    for (unsigned cpu = 0; cpu < 4; cpu++)
        put_amd(*state, cpu, 0x1010);
    open_ok(*state, &o);
    put_amd(*state, 0, 0x1010 + 65536);
    put_amd(*state, 1, 0x1010 + 131072);
    put_amd(*state, 2, 0x1010 + 6553600); /* the other threads of the same cores */
    put_amd(*state, 3, 0x1010 + 6553600);
    read_it(&o);
    assert_int_equal(o.n, 2);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_CORE), 3000000);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 256 * 1000000 / 65536);
    close_it(&o);
}

static void an_amd_package_of_several_dies_has_one_counter(void **state)
{
    static const struct cpu cpus[] = {{0, "0", "0"}, {0, "1", "1"}};
    struct opened o;

    put_cpuinfo(*state, "AuthenticAMD", 23, 49);
    put_cpus(*state, cpus, 2);
    put_amd(*state, 0, 0x1010);
    put_amd(*state, 1, 0x1010);
    open_ok(*state, &o);
    put_amd(*state, 0, 0x1010 + 0x1000000);
    put_amd(*state, 1, 0x1010 + 0x1000000);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 1000000);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_CORE), 512000000);
    close_it(&o);
}

static void the_cores_of_amd_come_from_the_registers_where_powercap_is_taken(void **state)
{
    static const struct cpu cpus[] = {{0, "0", "0-1"}, {0, "1", "0-1"}};
    struct opened o;

    put_cpuinfo(*state, "AuthenticAMD", 25, 97);
    put_cpus(*state, cpus, 2);
    put_amd(*state, 0, 0x1010);
    put_amd(*state, 1, 0x1010);
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/name", "package-0\n");
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "65532610987\n");
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/energy_uj", "5\n");
    assert_int_equal(try_open(*state, "auto", &o, NULL), 0);
    assert_string_equal(cb_energy_name(o.energy), "powercap");
    assert_non_null(strstr(cb_energy_reason(o.energy), "cores: from msr"));
    assert_true(cb_energy_reads_registers(o.energy));
    put_amd(*state, 0, 0x1010 + 65536);
    put_amd(*state, 1, 0x1010 + 131072);
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/energy_uj", "4000005\n");
    read_it(&o);
    assert_int_equal(o.n, 2);
    assert_true(o.at[0].domain == CB_DOMAIN_PACKAGE && o.at[0].source == CB_SOURCE_POWERCAP);
    assert_int_equal(o.at[0].energy_uj, 4000000);
    assert_int_equal(energy_of(&(struct opened){.n = 1, .at = {o.at[1]}}, 0, CB_DOMAIN_CORE),
                     3000000);
    close_it(&o);
    /* and none where the registers cannot be opened */
    assert_int_equal(unlinkat(((struct fake_root *)*state)->fd, "dev/cpu/0/msr", 0), 0);
    assert_int_equal(try_open(*state, "auto", &o, NULL), 0);
    assert_int_equal(cb_energy_n(o.energy), 1);
    assert_non_null(strstr(cb_energy_reason(o.energy), "cores: no '/dev/cpu/0/msr'"));
    assert_false(cb_energy_reads_registers(o.energy));
    close_it(&o);
}

/* A virtual machine may show the package's register and 0 in the cores'. */
static void the_registers_are_left_alone_where_they_have_no_cores(void **state)
{
    static const struct cpu cpus[] = {{0, "0", "0"}};
    static const uint8_t bytes[10] = {[5] = 1}; /* see put_amd(): package 0x1000000, core 0 */
    int before = count_open_fds();
    struct opened o;

    put_cpuinfo(*state, "AuthenticAMD", 25, 97);
    put_cpus(*state, cpus, 1);
    put_bytes(*state, 0, 0xc0010299, bytes, sizeof(bytes));
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/name", "package-0\n");
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "65532610987\n");
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/energy_uj", "5\n");
    assert_int_equal(try_open(*state, "auto", &o, NULL), 0);
    assert_string_equal(cb_energy_name(o.energy), "powercap");
    assert_int_equal(cb_energy_n(o.energy), 1);
    assert_non_null(strstr(cb_energy_reason(o.energy), "cores: msr has none"));
    assert_false(cb_energy_reads_registers(o.energy));
    close_it(&o);
    assert_int_equal(count_open_fds(), before);
}

/* ---- not there ---- */

/* The CPU has gone: its registers cannot be read any more. */
static void cut(const struct fake_root *root, unsigned cpu)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof(path), "dev/cpu/%u/msr", cpu);
    fd = openat(root->fd, path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    (void)close(fd);
}

static void another_cpu_of_the_package_is_read_when_one_goes_offline(void **state)
{
    const struct fake_root *root = *state;
    struct opened o;

    open_ok(root, &o);
    put_register(root, 0, 0x611, 1000 + (1 << 14));
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 1000000);
    /* the same registers of the same package */
    put_register(root, 1, 0x611, 1000 + (3 << 14));
    put_register(root, 1, 0x619, 2000);
    put_register(root, 1, 0x639, 3000);
    put_register(root, 1, 0x641, 4000);
    put_register(root, 1, 0x64d, 5000);
    cut(root, 0);
    read_it(&o);
    assert_int_equal(o.gaps.n, 0);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 2000000); /* since the last read, once */
    put_register(root, 1, 0x611, 1000 + (4 << 14));
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_PACKAGE), 1000000);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_DRAM), 0);
    close_it(&o);
}

static void an_amd_core_that_goes_offline_uses_nothing_more(void **state)
{
    static const struct cpu cpus[] = {{0, "0", "0-1"}, {0, "1", "0-1"}};
    const struct fake_root *root = *state;
    struct opened o;

    put_cpuinfo(root, "AuthenticAMD", 25, 1);
    put_cpus(root, cpus, 2);
    fake_root_put(root, "sys/devices/system/cpu/cpu0/topology/core_id", "0\n");
    fake_root_put(root, "sys/devices/system/cpu/cpu1/topology/core_id", "1\n");
    put_amd(root, 0, 0x10010);
    put_amd(root, 1, 0x20010);
    open_ok(root, &o);
    put_amd(root, 0, 0x20010);
    put_amd(root, 1, 0x30010);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_CORE), 2 * 1000000);
    fake_root_put(root, "sys/devices/system/cpu/online", "0\n");
    assert_int_equal(cb_topology_refresh(&o.topology, root->fd, NULL), 1);
    cut(root, 1);
    put_amd(root, 0, 0x30010);
    read_it(&o);
    assert_int_equal(o.gaps.n, 0);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_CORE), 1000000);
    fake_root_put(root, "sys/devices/system/cpu/online", "0-1\n");
    assert_int_equal(cb_topology_refresh(&o.topology, root->fd, NULL), 1);
    put_amd(root, 1, 0x10); /* it began anew: neither energy nor a wrap */
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_CORE), 0);
    put_amd(root, 1, 0x10010);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_CORE), 1000000);
    close_it(&o);
}

/* CPU 1 of a core goes; the other one of it is there, but its register is not to be had. */
static void an_amd_core_that_cannot_be_read_is_not_taken_for_one_that_is_offline(void **state)
{
    static const struct cpu cpus[] = {{0, "0", "0-2"}, {0, "1-2", "0-2"}, {0, "1-2", "0-2"}};
    const struct fake_root *root = *state;
    struct opened o;

    put_cpuinfo(root, "AuthenticAMD", 25, 1);
    put_cpus(root, cpus, 3);
    for (unsigned cpu = 0; cpu < 3; cpu++) {
        char path[128];

        (void)snprintf(path, sizeof(path), TOPOLOGY, cpu, "core_id");
        fake_root_put(root, path, "%u\n", cpu > 0);
        put_amd(root, cpu, 0x10010);
    }
    open_ok(root, &o);
    fake_root_put(root, "sys/devices/system/cpu/online", "0,2\n");
    assert_int_equal(cb_topology_refresh(&o.topology, root->fd, NULL), 1);
    cut(root, 1);
    assert_int_equal(renameat(root->fd, "dev/cpu/2/msr", root->fd, "dev/cpu/2/away"), 0);
    put_amd(root, 0, 0x20010);
    read_it(&o);
    assert_true(energy_of(&o, 0, CB_DOMAIN_CORE) == UINT64_MAX);
    assert_int_equal(o.gaps.n, 1);
    assert_non_null(strstr(o.gaps.reason[0], "no '/dev/cpu/2/msr'"));
    assert_int_equal(renameat(root->fd, "dev/cpu/2/away", root->fd, "dev/cpu/2/msr"), 0);
    read_it(&o); /* belongs to a longer interval */
    put_amd(root, 2, 0x20010);
    read_it(&o);
    assert_int_equal(energy_of(&o, 0, CB_DOMAIN_CORE), 1000000);
    close_it(&o);
}

static void check_refused(const struct fake_root *root, int code, const char *text)
{
    struct cb_err err = {0};
    struct opened o;

    assert_int_equal(try_open(root, "msr", &o, &err), code);
    if (!strstr(err.text, text))
        fail_msg("'%s' does not say '%s'", err.text, text);
    close_it(&o);
}

static void unknown_models_are_refused(void **state)
{
    put_cpuinfo(*state, "GenuineIntel", 6, 0x37);
    check_refused(*state, -ENOENT, "not known");
    put_cpuinfo(*state, "GenuineIntel", 15, 6);
    check_refused(*state, -ENOENT, "not known");
    put_cpuinfo(*state, "AuthenticAMD", 22, 48);
    check_refused(*state, -ENOENT, "not known");
    put_cpuinfo(*state, "SomethingElse", 6, 0x9e);
    check_refused(*state, -ENOENT, "not known");
    fake_root_put(*state, "proc/cpuinfo", "vendor_id\t: GenuineIntel\n");
    check_refused(*state, -ENOENT, "does not tell");
}

static void a_virtual_machine_that_answers_0_has_none(void **state)
{
    for (unsigned i = 0; i < 5; i++)
        put_register(*state, 0, (uint32_t[]){0x611, 0x619, 0x639, 0x641, 0x64d}[i], 0);
    check_refused(*state, -ENOENT, "all 0");
}

static void without_the_module_the_remedy_is_said(void **state)
{
    const struct fake_root *root = *state;

    assert_int_equal(unlinkat(root->fd, "dev/cpu/0/msr", 0), 0);
    check_refused(root, -ENOENT, "modprobe msr");
}

static void auto_takes_powercap_before_the_registers(void **state)
{
    struct opened o;

    assert_int_equal(try_open(*state, "auto", &o, NULL), 0);
    assert_string_equal(cb_energy_name(o.energy), "msr");
    close_it(&o);
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/name", "package-0\n");
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/energy_uj", "5\n");
    assert_int_equal(try_open(*state, "auto", &o, NULL), 0);
    assert_string_equal(cb_energy_name(o.energy), "powercap");
    close_it(&o);
}

static void every_failing_call_is_survived(void **state)
{
    int before = count_open_fds();
    int succeeded = 0;

    for (int k = 0; k < 200 && succeeded < 2; k++) {
        const struct fake_root *root = *state;
        struct cb_err err = {0};
        struct opened o = {0};
        struct cb_energy_options options = {
            .root_fd = root->fd, .topology = &o.topology, .wanted = "msr"};
        int r;

        assert_int_equal(cb_topology_init(&o.topology, root->fd, NULL), 0);
        fault_arm(k);
        r = cb_energy_open(&options, &o.energy, &err);
        if (r == 0)
            read_it(&o);
        fault_disarm();
        if (r < 0)
            assert_true(err.text[0] && err.code == -r && !o.energy);
        else
            assert_int_equal(o.n + o.gaps.n, cb_energy_n(o.energy));
        succeeded += r == 0 && o.gaps.n == 0;
        close_it(&o);
        assert_int_equal(count_open_fds(), before);
    }
    assert_int_equal(succeeded, 2);
}

#define with_client(test) cmocka_unit_test_setup_teardown(test, setup, fake_root_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_client(reads_the_domains_of_a_client),
        with_client(adding_up_the_intervals_loses_nothing),
        with_client(adds_32_bits_back_after_a_wrap),
        with_client(a_reset_makes_a_gap_and_no_energy),
        with_client(a_server_has_its_own_steps_for_dram_and_psys_and_no_cores),
        with_client(reads_one_cpu_of_each_package),
        with_client(psys_is_read_once_for_the_whole_machine),
        with_client(the_dies_of_an_intel_package_are_added_up),
        with_client(amd_adds_up_cores_and_has_no_dram),
        with_client(an_amd_package_of_several_dies_has_one_counter),
        with_client(the_cores_of_amd_come_from_the_registers_where_powercap_is_taken),
        with_client(the_registers_are_left_alone_where_they_have_no_cores),
        with_client(another_cpu_of_the_package_is_read_when_one_goes_offline),
        with_client(an_amd_core_that_goes_offline_uses_nothing_more),
        with_client(an_amd_core_that_cannot_be_read_is_not_taken_for_one_that_is_offline),
        with_client(unknown_models_are_refused),
        with_client(a_virtual_machine_that_answers_0_has_none),
        with_client(without_the_module_the_remedy_is_said),
        with_client(auto_takes_powercap_before_the_registers),
        with_client(every_failing_call_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
