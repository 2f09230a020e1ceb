/* SPDX-License-Identifier: Apache-2.0 */
/*
 * energy_powercap.c - RAPL through /sys/class/powercap/intel-rapl:* (AMD's is called so too).
 *
 * Zones    "package-N" is the package with physical id N, wherever it stands in the numbering;
 *          "package-N-die-M" is one die: its own counter on Intel (added up), a mirror of the
 *          package on AMD (the first stands for all). "core", "uncore" and "dram" lie inside their
 *          package, but AMD's "core" is the register of one core only and is left out; "psys" stands beside the packages and contains them. "intel-rapl-mmio:*" shows
 *          the packages a second time and is not used.
 * Wraps    energy_uj restarts after max_energy_range_uj; what is a restart and what a reset says
 *          energy_step.h. A zone's most is LIMIT_FACTOR times its largest
 *          constraint_N_max_power_uw, which a short turbo exceeds, else cb_energy_max_w(), and for
 *          longer than a moment never more than that: some firmware tells a limit of 4 kW.
 * Rights   energy_uj is readable by root only (CAP_DAC_READ_SEARCH); opened once at the start.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/energy_driver.h"
#include "sensor/energy_step.h"
#include "sensor/fsread.h"

#define POWERCAP "sys/class/powercap"
#define ZONE_MAX 48
#define MAX_CONSTRAINTS 4 /* long and short term, peak power */
#define LIMIT_FACTOR 4
#define LIMIT_MIN_W 250 /* a small processor's turbo is many times its rated power */

struct zone {
    int fd;
    size_t counter;
    struct cb_energy_steps steps;
    uint64_t total_uj;
    char name[ZONE_MAX];
};

struct powercap {
    size_t n_counters;
    struct cb_energy_counter counters[CB_ENERGY_MAX_COUNTERS];
    size_t n_zones;
    struct zone zones[CB_ENERGY_MAX_COUNTERS];
};

static int zone_attr(int root_fd, const char *zone, const char *attr, char *buf, size_t size,
                     struct cb_err *err)
{
    char path[128];

    (void)snprintf(path, sizeof(path), POWERCAP "/%s/%s", zone, attr);
    return cb_fsread_line(root_fd, path, buf, size, err);
}

/* "package-1" or "package-1-die-0"; false for any other name. */
static bool parse_package(const char *name, uint64_t *ret_id, bool *ret_die)
{
    char buf[ZONE_MAX];
    char *die;
    uint64_t number;

    if (strncmp(name, "package-", 8) != 0)
        return false;
    (void)snprintf(buf, sizeof(buf), "%s", name + 8);
    die = strstr(buf, "-die-");
    if (die) {
        *die = '\0';
        if (cb_parse_u64(die + 5, &number) < 0)
            return false;
    }
    *ret_die = die != NULL;
    return cb_parse_u64(buf, ret_id) == 0;
}

/* Which socket and domain a zone ("intel-rapl:0:1") is; -ENOENT: none of ours. */
static int place_zone(const struct cb_energy_options *options, const char *zone,
                      uint16_t *ret_socket, uint8_t *ret_domain, char name[ZONE_MAX],
                      struct cb_err *err)
{
    static const char *const inner[] = {
        [CB_DOMAIN_DRAM] = "dram", [CB_DOMAIN_CORE] = "core", [CB_DOMAIN_UNCORE] = "uncore"};
    char parent[ZONE_MAX];
    char own[ZONE_MAX];
    uint64_t id = 0;
    bool die;
    int socket = 0;
    char *part;
    int r = zone_attr(options->root_fd, zone, "name", own, sizeof(own), err);

    if (r < 0)
        return r;
    (void)snprintf(name, ZONE_MAX, "%s", own);
    if (strcmp(own, "psys") == 0) {
        *ret_socket = 0;
        *ret_domain = CB_DOMAIN_PSYS;
        return 0;
    }
    (void)snprintf(parent, sizeof(parent), "%s", zone);
    part = strchr(parent, ':');
    part = part ? strchr(part + 1, ':') : NULL;
    if (part) { /* a part's socket is its parent's */
        *part = '\0';
        r = zone_attr(options->root_fd, parent, "name", parent, sizeof(parent), err);
        if (r < 0)
            return r;
    } else {
        (void)snprintf(parent, sizeof(parent), "%s", own);
    }
    if (!parse_package(parent, &id, &die))
        return -ENOENT;
    socket = cb_topology_socket_of_id(options->topology, id);
    if (socket < 0)
        return cb_err_set(err, ENOENT, "zone %s is of package %" PRIu64 ", which has no CPU", zone,
                          id);
    *ret_socket = (uint16_t)socket;
    *ret_domain = CB_DOMAIN_PACKAGE;
    if (!part)
        return 0;
    for (size_t d = 0; d < sizeof(inner) / sizeof(inner[0]); d++)
        if (inner[d] && strcmp(inner[d], own) == 0 &&
            !(d == CB_DOMAIN_CORE && options->topology->vendor == CB_CPU_AMD)) {
            *ret_domain = (uint8_t)d;
            return 0;
        }
    return -ENOENT;
}

static int read_zone(int fd, const char *name, uint64_t *ret_uj, struct cb_err *err)
{
    char buf[32];
    int r = cb_fsread_again(fd, buf, sizeof(buf));

    if (r < 0)
        return cb_err_set(err, -r, "%s/energy_uj: %s", name, strerror(-r));
    if (cb_parse_u64(buf, ret_uj) < 0)
        return cb_err_set(err, EPROTO, "%s/energy_uj is not a counter: '%.20s'", name, buf);
    return 0;
}

/* What the zone's own limits say, in W; 0: nothing. */
static double limit_w(int root_fd, const char *zone)
{
    uint64_t most_uw = 0;

    for (int i = 0; i < MAX_CONSTRAINTS; i++) {
        char path[128];
        uint64_t uw;

        (void)snprintf(path, sizeof(path), POWERCAP "/%s/constraint_%d_max_power_uw", zone, i);
        if (cb_fsread_u64(root_fd, path, &uw, NULL) == 0 && uw > most_uw)
            most_uw = uw;
    }
    if (most_uw == 0)
        return 0;
    return fmax(LIMIT_FACTOR * (double)most_uw / 1e6, LIMIT_MIN_W);
}

static int open_zone(const struct cb_energy_options *options, const char *zone, uint8_t domain,
                     struct zone *z, struct cb_err *err)
{
    int root_fd = options->root_fd;
    char path[128];
    cb_auto_close int fd = -1;
    int r;

    (void)snprintf(path, sizeof(path), POWERCAP "/%s/max_energy_range_uj", zone);
    r = cb_fsread_u64(root_fd, path, &z->steps.range, err);
    if (r < 0)
        return r == -EINVAL ? -EPROTO : r;
    if (z->steps.range == 0)
        return cb_err_set(err, EPROTO, "'/%s' is 0: wraps cannot be added back", path);
    (void)snprintf(path, sizeof(path), POWERCAP "/%s/energy_uj", zone);
    fd = cb_fsread_open(root_fd, path, err);
    if (fd == -EACCES)
        return cb_err_set(err, EACCES,
                          "'/%s' is for root only: run as root or with CAP_DAC_READ_SEARCH", path);
    if (fd < 0)
        return fd;
    r = read_zone(fd, zone, &z->steps.last, err);
    if (r < 0)
        return r;
    z->steps.at = cb_energy_moment();
    z->steps.uj_per_count = 1;
    z->steps.sustained_w = cb_energy_max_w(domain, options->topology->n_sockets);
    z->steps.max_w = limit_w(root_fd, zone);
    if (z->steps.max_w == 0)
        z->steps.max_w = z->steps.sustained_w;
    z->steps.sustained_w = fmin(z->steps.sustained_w, z->steps.max_w);
    z->fd = cb_take_fd(fd);
    return 0;
}

static size_t counter_of(struct powercap *p, uint16_t socket, uint8_t domain)
{
    size_t i = 0;

    while (i < p->n_counters &&
           (p->counters[i].socket != socket || p->counters[i].domain != domain))
        i++;
    if (i < p->n_counters || i == CB_ENERGY_MAX_COUNTERS)
        return i;
    p->counters[p->n_counters++] =
        (struct cb_energy_counter){.socket = socket, .domain = domain, .step_uj = CB_RAPL_STEP_UJ};
    return i;
}

/* A second zone of the same socket and domain is another die on Intel, a mirror elsewhere. */
static bool is_mirror(const struct powercap *p, const struct cb_topology *topology, size_t counter)
{
    if (topology->vendor == CB_CPU_INTEL && p->counters[counter].domain != CB_DOMAIN_PSYS)
        return false;
    for (size_t i = 0; i < p->n_zones; i++)
        if (p->zones[i].counter == counter)
            return true;
    return false;
}

static int add_zone(struct powercap *p, const struct cb_energy_options *options, const char *zone,
                    struct cb_err *err)
{
    struct zone z = {.fd = -1};
    uint16_t socket = 0;
    uint8_t domain = 0;
    int r = place_zone(options, zone, &socket, &domain, z.name, err);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    z.counter = counter_of(p, socket, domain);
    if (z.counter == CB_ENERGY_MAX_COUNTERS || p->n_zones == CB_ENERGY_MAX_COUNTERS)
        return cb_err_set(err, ERANGE, "more than %d zones", CB_ENERGY_MAX_COUNTERS);
    if (is_mirror(p, options->topology, z.counter))
        return 0;
    r = open_zone(options, zone, domain, &z, err);
    if (r < 0)
        return r;
    (void)snprintf(p->counters[z.counter].name, sizeof(p->counters[z.counter].name), "%s (%s)",
                   zone, z.name);
    p->zones[p->n_zones++] = z;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;

    return strcmp(*x, *y);
}

/* Sorted, so that "the first die" is the same one on every start. */
static int list_zones(int root_fd, char (**ret_names)[ZONE_MAX], const char ***ret_sorted,
                      size_t *ret_n, struct cb_err *err)
{
    cb_auto_free char(*names)[ZONE_MAX] = calloc(CB_ENERGY_MAX_COUNTERS, ZONE_MAX);
    cb_auto_free const char **sorted = calloc(CB_ENERGY_MAX_COUNTERS, sizeof(*sorted));
    cb_auto_close int fd = openat(root_fd, POWERCAP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    size_t n = 0;
    DIR *dir;

    if (!names || !sorted)
        return cb_err_set(err, ENOMEM, "out of memory");
    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return cb_err_set(err, errno == ENOENT ? ENOENT : errno,
                          "no powercap zones ('/" POWERCAP "': %s)", strerror(errno));
    (void)cb_take_fd(fd);
    for (struct dirent *e; (e = readdir(dir)) && n < CB_ENERGY_MAX_COUNTERS;)
        if (strncmp(e->d_name, "intel-rapl:", 11) == 0 && strlen(e->d_name) < ZONE_MAX) {
            memcpy(names[n], e->d_name, strlen(e->d_name) + 1);
            sorted[n] = names[n];
            n++;
        }
    (void)closedir(dir);
    qsort(sorted, n, sizeof(*sorted), by_name);
    *ret_names = cb_take(names);
    *ret_sorted = cb_take(sorted);
    *ret_n = n;
    return 0;
}

static void powercap_close(void *state)
{
    struct powercap *p = state;

    for (size_t i = 0; i < p->n_zones; i++)
        (void)close(p->zones[i].fd);
    free(p);
}

static int open_zones(struct powercap *p, const struct cb_energy_options *options,
                      struct cb_err *err)
{
    cb_auto_free char(*names)[ZONE_MAX] = NULL;
    cb_auto_free const char **sorted = NULL;
    size_t n = 0;
    int r = list_zones(options->root_fd, &names, &sorted, &n, err);

    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_zone(p, options, sorted[i], err);
    if (r == 0 && p->n_zones == 0)
        return cb_err_set(err, ENOENT, "'/" POWERCAP "' has no RAPL zones");
    return r;
}

static int powercap_open(const struct cb_energy_options *options, void **ret_state,
                         const struct cb_energy_counter **ret_counters, size_t *ret_n,
                         struct cb_err *err)
{
    struct powercap *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = open_zones(p, options, err);
    if (r < 0) {
        powercap_close(p);
        return r;
    }
    *ret_state = p;
    *ret_counters = p->counters;
    *ret_n = p->n_counters;
    return 0;
}

/* The energy since the last reading of one zone. */
static int advance(struct zone *z, struct cb_err *err)
{
    uint64_t now_uj = 0;
    uint64_t delta_uj = 0;
    int r = read_zone(z->fd, z->name, &now_uj, err);
    struct cb_energy_moment now = cb_energy_moment();

    if (r < 0)
        return r == -ENODATA ? -EIO : r;
    if (now_uj > z->steps.range)
        return cb_err_set(err, EPROTO, "%s: %" PRIu64 " uJ is above the range %" PRIu64, z->name,
                          now_uj, z->steps.range);
    r = cb_energy_step(&z->steps, now_uj, &now, &delta_uj, err);
    if (r < 0)
        return cb_err_prefix(err, r, "%s", z->name);
    z->total_uj += delta_uj;
    return 0;
}

static int powercap_read(void *state, size_t counter, const struct cb_energy_interval *interval,
                         uint64_t *ret_total_uj, struct cb_err *err)
{
    struct powercap *p = state;
    uint64_t total_uj = 0;
    int result = 0;

    (void)interval;
    for (size_t i = 0; i < p->n_zones; i++) {
        struct cb_err why = {0};

        if (p->zones[i].counter != counter)
            continue;
        result = cb_energy_worse(result, advance(&p->zones[i], &why), &why, err);
        total_uj += p->zones[i].total_uj;
    }
    *ret_total_uj = total_uj;
    return result;
}

const struct cb_energy_driver cb_energy_powercap = {
    .name = "powercap",
    .source = CB_SOURCE_POWERCAP,
    .open = powercap_open,
    .read = powercap_read,
    .close = powercap_close,
};
