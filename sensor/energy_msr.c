/* SPDX-License-Identifier: Apache-2.0 */
/*
 * energy_msr.c - RAPL from the model specific registers themselves, /dev/cpu/N/msr.
 *
 * Source   Intel SDM vol. 3 "RAPL interfaces" and vol. 4; AMD "Processor Programming Reference",
 *          family 17h and later; msr(4). Only for machines where the kernel shows RAPL in no other
 *          way: the same registers stand behind perf's `power` PMU and powercap.
 * Units    a step is 2^-ESU J, ESU from the unit register of the same package. Intel's servers have
 *          a fixed step for DRAM (2^-16 J), and since Sapphire Rapids for psys (1 J).
 * CPUs     package, DRAM and uncore counters belong to a die: one CPU of each die is read, and the
 *          dies of a package are added up (AMD's package counter is the package's: one CPU). AMD's
 *          core counter belongs to a core: one CPU of each is read, and they are added up.
 * Domains  a register that cannot be read or holds 0 is not there (a virtual machine answers 0).
 *          AMD has no DRAM counter; Intel's servers no core counter. psys spans the machine: the
 *          first package that has it stands for all.
 * Hotplug  when the CPU goes offline another one of its die (or of its core) shows the same
 *          register; a core that has gone as a whole uses nothing and is left out.
 * Wraps    counters have 32 bits; what is a restart and what a reset says energy_step.h.
 * Rights   CAP_SYS_RAWIO and the right to open the file; the `msr` module.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/energy_driver.h"
#include "sensor/energy_step.h"
#include "sensor/fsread.h"

#define COUNTER_RANGE (UINT64_C(1) << 32)
#define ESU_FIXED_DRAM 16
#define ESU_FIXED_PSYS 0

enum scope { SCOPE_DIE, SCOPE_CORE, SCOPE_MACHINE };

struct domain_register {
    uint32_t address;
    uint8_t domain; /* enum cb_domain */
    enum scope scope;
};

static const struct domain_register intel_registers[] = {
    {0x611, CB_DOMAIN_PACKAGE, SCOPE_DIE},  {0x619, CB_DOMAIN_DRAM, SCOPE_DIE},
    {0x639, CB_DOMAIN_CORE, SCOPE_DIE},     {0x641, CB_DOMAIN_UNCORE, SCOPE_DIE},
    {0x64d, CB_DOMAIN_PSYS, SCOPE_MACHINE}, {0},
};
static const struct domain_register amd_registers[] = {
    {0xc001029b, CB_DOMAIN_PACKAGE, SCOPE_DIE},
    {0xc001029a, CB_DOMAIN_CORE, SCOPE_CORE},
    {0},
};
#define INTEL_UNIT 0x606
#define AMD_UNIT 0xc0010299

/* What the CPU's model decides. */
struct model {
    const struct domain_register *registers;
    uint32_t unit_address;
    bool server;     /* DRAM has its own step, there is no core counter */
    bool fixed_psys; /* psys has its own step */
};

/* One register of one CPU. */
struct source {
    int fd; /* of /dev/cpu/N/msr, this source's own */
    uint32_t address;
    uint32_t cpu;
    enum scope scope;
    uint64_t die_id, core_id; /* of the CPU; UINT64_MAX where the kernel does not tell */
    bool away;                /* its core is offline */
    size_t counter;
    unsigned esu;
    struct cb_energy_steps steps;
    uint64_t total_steps; /* since open */
};

struct msr {
    size_t n_counters;
    struct cb_energy_counter counters[CB_ENERGY_MAX_COUNTERS];
    size_t n_sources;
    struct source *sources;
    struct model model;
    const struct cb_topology *topology;
    int root_fd;
};

/* ---- the model ---- */

/* Family 6 models whose DRAM step is fixed: Haswell, Broadwell, Skylake, Ice Lake, Sapphire,
 * Emerald and Granite Rapids servers, Sierra Forest, Xeon Phi. */
static bool is_server(uint64_t model)
{
    static const uint8_t models[] = {0x3f, 0x4f, 0x56, 0x55, 0x6a, 0x6c, 0x8f,
                                     0xcf, 0xad, 0xae, 0xaf, 0x57, 0x85};

    return memchr(models, (int)model, sizeof(models)) != NULL && model <= UINT8_MAX;
}

/* The Atoms of the Silvermont kind count in other units altogether. */
static bool is_old_atom(uint64_t model)
{
    static const uint8_t models[] = {0x37, 0x4a, 0x4c, 0x4d, 0x5a, 0x5d};

    return memchr(models, (int)model, sizeof(models)) != NULL && model <= UINT8_MAX;
}

/* The number behind "name\t: " in /proc/cpuinfo, first CPU. */
static int cpuinfo_number(const char *text, const char *name, uint64_t *ret_value)
{
    size_t n = strlen(name);

    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *p = line + n;
        char digits[24] = "";

        if (strncmp(line, name, n) != 0)
            continue;
        p += strspn(p, " \t");
        if (*p != ':')
            continue;
        p += 1 + strspn(p + 1, " \t");
        (void)snprintf(digits, sizeof(digits), "%.*s", (int)strcspn(p, "\n"), p);
        return cb_parse_u64(digits, ret_value);
    }
    return -ENOENT;
}

static int find_model(int root_fd, enum cb_cpu_vendor vendor, struct model *ret, struct cb_err *err)
{
    cb_auto_close int fd = cb_fsread_open(root_fd, "proc/cpuinfo", err);
    char text[2048];
    uint64_t family = 0;
    uint64_t model = 0;
    int r;

    if (fd < 0)
        return fd;
    r = cb_fsread_again(fd, text, sizeof(text));
    if (r < 0)
        return cb_err_set(err, -r, "cannot read '/proc/cpuinfo': %s", strerror(-r));
    if (cpuinfo_number(text, "cpu family", &family) < 0 ||
        cpuinfo_number(text, "model", &model) < 0)
        return cb_err_set(err, ENOENT, "'/proc/cpuinfo' does not tell the CPU's model");
    if (vendor == CB_CPU_AMD && family >= 0x17) {
        *ret = (struct model){.registers = amd_registers, .unit_address = AMD_UNIT};
        return 0;
    }
    if (vendor == CB_CPU_INTEL && family == 6 && !is_old_atom(model)) {
        *ret = (struct model){
            .registers = intel_registers,
            .unit_address = INTEL_UNIT,
            .server = is_server(model),
            .fixed_psys = model == 0x8f || model == 0xcf || model == 0xad || model == 0xae,
        };
        return 0;
    }
    return cb_err_set(err, ENOENT,
                      "the RAPL registers of this CPU (family %" PRIu64 ", model %" PRIu64
                      ") are not known",
                      family, model);
}

/* ---- one register ---- */

static int read_register(int fd, uint32_t address, uint32_t cpu, uint64_t *ret_value,
                         struct cb_err *err)
{
    uint64_t value = 0;
    ssize_t n = pread(fd, &value, sizeof(value), (off_t)address);

    if (n < 0)
        return cb_err_set(err, errno, "register 0x%x of CPU %u: %s", address, cpu, strerror(errno));
    if ((size_t)n != sizeof(value))
        return cb_err_set(err, EIO, "register 0x%x of CPU %u: %zd bytes", address, cpu, n);
    *ret_value = value;
    return 0;
}

static int open_cpu(int root_fd, uint32_t cpu, struct cb_err *err)
{
    char path[48];
    int fd;

    (void)snprintf(path, sizeof(path), "dev/cpu/%u/msr", cpu);
    fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    if (errno == ENOENT)
        return cb_err_set(err, ENOENT, "no '/%s': modprobe msr", path);
    if (errno == EACCES || errno == EPERM)
        return cb_err_set(err, EACCES, "'/%s' cannot be opened: it needs root with CAP_SYS_RAWIO",
                          path);
    return cb_err_set(err, errno, "cannot open '/%s': %s", path, strerror(errno));
}

/* ---- which CPUs ---- */

/* The first CPU of a list in topology/ ("0-3,8": the online ones); -1 where the kernel has none. */
static int64_t first_of(const struct msr *m, uint32_t cpu, const char *list)
{
    char path[96];
    char text[4096];
    uint64_t first;

    (void)snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/%s", cpu, list);
    if (cb_fsread_line(m->root_fd, path, text, sizeof(text), NULL) < 0)
        return -1;
    text[strcspn(text, ",-")] = '\0';
    return cb_parse_u64(text, &first) < 0 || first > UINT32_MAX ? -1 : (int64_t)first;
}

static int64_t first_of_socket(const struct cb_topology *t, uint16_t socket)
{
    for (uint32_t i = 0; i < t->n_cpus; i++)
        if (t->socket[i] == socket)
            return t->cpus[i];
    return -1;
}

/* Is cpus[i] the one that is read for its core, its die or its package? */
static bool is_leader(const struct msr *m, enum scope scope, uint32_t i)
{
    const struct cb_topology *t = m->topology;
    int64_t leader = -1;

    if (scope == SCOPE_CORE)
        leader = first_of(m, t->cpus[i], "thread_siblings_list");
    else if (scope == SCOPE_DIE && t->vendor == CB_CPU_INTEL)
        leader = first_of(m, t->cpus[i], "die_cpus_list");
    if (leader < 0)
        leader = scope == SCOPE_CORE ? t->cpus[i] : first_of_socket(t, t->socket[i]);
    return leader == t->cpus[i];
}

static uint64_t topology_id(const struct msr *m, uint32_t cpu, const char *file)
{
    char path[96];
    uint64_t id;

    (void)snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/%s", cpu, file);
    return cb_fsread_u64(m->root_fd, path, &id, NULL) < 0 ? UINT64_MAX : id;
}

/* ---- opening ---- */

static int find_esu(const struct msr *m, int fd, uint32_t cpu, uint8_t domain, unsigned *ret_esu,
                    struct cb_err *err)
{
    uint64_t units = 0;
    int r = read_register(fd, m->model.unit_address, cpu, &units, err);

    if (r < 0)
        return r;
    *ret_esu = (units >> 8) & 0x1f;
    if (domain == CB_DOMAIN_DRAM && m->model.server)
        *ret_esu = ESU_FIXED_DRAM;
    if (domain == CB_DOMAIN_PSYS && m->model.fixed_psys)
        *ret_esu = ESU_FIXED_PSYS;
    return 0;
}

/* The counter of that socket and domain, made if need be; CB_ENERGY_MAX_COUNTERS: no room. */
static size_t counter_of(struct msr *m, uint16_t socket, uint8_t domain)
{
    size_t i = 0;

    while (i < m->n_counters &&
           (m->counters[i].socket != socket || m->counters[i].domain != domain))
        i++;
    if (i < m->n_counters || i == CB_ENERGY_MAX_COUNTERS)
        return i;
    m->counters[i] = (struct cb_energy_counter){.socket = socket, .domain = domain};
    (void)snprintf(m->counters[i].name, sizeof(m->counters[i].name), "%s of socket %u",
                   cb_domain_name(domain), socket);
    m->n_counters++;
    return i;
}

static uint64_t steps_to_uj(uint64_t steps, unsigned esu)
{
    return (uint64_t)(((unsigned __int128)steps * 1000000) >> esu);
}

/* Read @what on cpus[i]. 1: added, 0: this machine does not have it. */
static int add_source(struct msr *m, const struct domain_register *what, uint32_t i,
                      struct cb_err *err)
{
    uint32_t cpu = m->topology->cpus[i];
    cb_auto_close int fd = open_cpu(m->root_fd, cpu, err);
    struct source *s = &m->sources[m->n_sources];
    uint64_t now = 0;
    double max_w = cb_energy_max_w(what->domain, m->topology->n_sockets);
    int r;

    if (fd < 0)
        return fd;
    *s = (struct source){.address = what->address,
                         .cpu = cpu,
                         .scope = what->scope,
                         .die_id = topology_id(m, cpu, "die_id"),
                         .core_id = topology_id(m, cpu, "core_id")};
    r = find_esu(m, fd, cpu, what->domain, &s->esu, err);
    if (r == 0)
        r = read_register(fd, what->address, cpu, &now, err);
    if (r == -EIO || (r == 0 && (uint32_t)now == 0))
        return 0;
    if (r < 0)
        return r;
    s->counter = counter_of(m, m->topology->socket[i], what->domain);
    if (s->counter == CB_ENERGY_MAX_COUNTERS)
        return cb_err_set(err, ERANGE, "more than %d counters", CB_ENERGY_MAX_COUNTERS);
    m->counters[s->counter].step_uj += steps_to_uj(1, s->esu) + 1;
    s->steps = (struct cb_energy_steps){
        .range = COUNTER_RANGE,
        .uj_per_count = ldexp(1e6, -(int)s->esu),
        .max_w = max_w,
        .sustained_w = max_w,
        .last = (uint32_t)now,
        .at = cb_energy_moment(),
    };
    s->fd = cb_take_fd(fd);
    m->n_sources++;
    return 1;
}

static int add_domain(struct msr *m, const struct domain_register *what, struct cb_err *err)
{
    for (uint32_t i = 0; i < m->topology->n_cpus; i++) {
        int r;

        if (!is_leader(m, what->scope, i))
            continue;
        r = add_source(m, what, i, err);
        if (r < 0)
            return r;
        if (r > 0 && what->scope == SCOPE_MACHINE)
            return 0;
    }
    return 0;
}

static int add_domains(struct msr *m, struct cb_err *err)
{
    const struct domain_register *what;
    size_t n = 0;

    assert(m->model.registers);
    for (what = m->model.registers; what->address; what++)
        n++;
    assert(n > 0 && m->topology->n_cpus > 0);
    m->sources = calloc(n * m->topology->n_cpus, sizeof(*m->sources));
    if (!m->sources)
        return cb_err_set(err, ENOMEM, "out of memory");
    for (what = m->model.registers; what->address; what++) {
        bool no_core =
            m->model.server && (what->domain == CB_DOMAIN_CORE || what->domain == CB_DOMAIN_UNCORE);
        int r = no_core ? 0 : add_domain(m, what, err);

        if (r < 0)
            return r;
    }
    if (m->n_counters == 0)
        return cb_err_set(err, ENOENT,
                          "the RAPL registers are not there, or all 0 (as in a "
                          "virtual machine)");
    return 0;
}

static void msr_close(void *state)
{
    struct msr *m = state;

    for (size_t i = 0; i < m->n_sources; i++)
        (void)close(m->sources[i].fd);
    free(m->sources);
    free(m);
}

static int msr_open(const struct cb_energy_options *options, void **ret_state,
                    const struct cb_energy_counter **ret_counters, size_t *ret_n,
                    struct cb_err *err)
{
    struct msr *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return cb_err_set(err, ENOMEM, "out of memory");
    m->topology = options->topology;
    m->root_fd = options->root_fd;
    r = find_model(options->root_fd, options->topology->vendor, &m->model, err);
    if (r == 0)
        r = add_domains(m, err);
    if (r < 0) {
        msr_close(m);
        return r;
    }
    *ret_state = m;
    *ret_counters = m->counters;
    *ret_n = m->n_counters;
    return 0;
}

/* ---- reading ---- */

/* Does cpus[i] show the same register as the source's own CPU? */
static bool shows_the_same(const struct msr *m, const struct source *s, uint32_t i)
{
    const struct cb_topology *t = m->topology;
    uint32_t cpu = t->cpus[i];

    if (cpu == s->cpu || !cb_topology_is_online(t, i) ||
        t->socket[i] != m->counters[s->counter].socket)
        return false;
    if (s->scope == SCOPE_CORE && topology_id(m, cpu, "core_id") != s->core_id)
        return false;
    return s->scope == SCOPE_MACHINE || t->vendor == CB_CPU_AMD ||
           topology_id(m, cpu, "die_id") == s->die_id;
}

/* Its CPU cannot be read: read another one from now on. *@ret_n: how many there are. */
static int move_source(const struct msr *m, struct source *s, uint64_t *ret_value, unsigned *ret_n,
                       struct cb_err *err)
{
    int r = -ENODEV;

    *ret_n = 0;
    for (uint32_t i = 0; i < m->topology->n_cpus; i++) {
        uint32_t cpu = m->topology->cpus[i];
        cb_auto_close int fd = -1;

        if (!shows_the_same(m, s, i))
            continue;
        ++*ret_n;
        fd = open_cpu(m->root_fd, cpu, err);
        r = fd < 0 ? fd : read_register(fd, s->address, cpu, ret_value, err);
        if (r < 0)
            continue;
        (void)close(s->fd);
        s->fd = cb_take_fd(fd);
        s->cpu = cpu;
        return 0;
    }
    return r;
}

/* *@ret_away: no CPU of its core is online, and there is no value. */
static int read_source(const struct msr *m, struct source *s, uint64_t *ret_value, bool *ret_away,
                       struct cb_err *err)
{
    struct cb_err moving = {0};
    bool online;
    unsigned n;
    int r = read_register(s->fd, s->address, s->cpu, ret_value, err);

    *ret_away = false;
    if (r == 0 || move_source(m, s, ret_value, &n, &moving) == 0)
        return 0;
    online = cb_topology_socket_of_cpu(m->topology, s->cpu) >= 0;
    *ret_away = s->scope == SCOPE_CORE && !online && n == 0;
    if (*ret_away)
        return 0;
    return online || n == 0 ? r : cb_err_set(err, moving.code, "%s", moving.text);
}

static int advance(const struct msr *m, struct source *s, struct cb_err *err)
{
    uint64_t value = 0;
    uint64_t steps = 0;
    bool away;
    int r = read_source(m, s, &value, &away, err);
    struct cb_energy_moment now = cb_energy_moment();

    if (r < 0)
        return r == -ENODATA ? -EIO : r;
    if (away) {
        s->away = true;
        return 0;
    }
    if (s->away) { /* what it shows may be anything */
        s->steps.last = (uint32_t)value;
        s->steps.at = now;
        s->away = false;
    }
    r = cb_energy_step(&s->steps, (uint32_t)value, &now, &steps, err);
    if (r < 0)
        return cb_err_prefix(err, r, "register 0x%x of CPU %u", s->address, s->cpu);
    s->total_steps += steps;
    return 0;
}

static int msr_read(void *state, size_t counter, const struct cb_energy_interval *interval,
                    uint64_t *ret_total_uj, struct cb_err *err)
{
    struct msr *m = state;
    uint64_t total_uj = 0;
    int result = 0;

    (void)interval;
    for (size_t i = 0; i < m->n_sources; i++) {
        struct source *s = &m->sources[i];
        struct cb_err why = {0};

        if (s->counter != counter)
            continue;
        result = cb_energy_worse(result, advance(m, s, &why), &why, err);
        total_uj += steps_to_uj(s->total_steps, s->esu);
    }
    *ret_total_uj = total_uj;
    return result;
}

const struct cb_energy_driver cb_energy_msr = {
    .name = "msr",
    .source = CB_SOURCE_MSR,
    .open = msr_open,
    .read = msr_read,
    .close = msr_close,
};
