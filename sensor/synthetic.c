/* SPDX-License-Identifier: Apache-2.0 */
/* synthetic.c - see synthetic.h. */
#include "sensor/synthetic.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>

#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/parse.h"

#define MAX_SOCKETS 2
#define N_DOMAINS 2
#define N_EVENTS 3
#define CPUS_PER_SOCKET 16
#define DEFAULT_CONTAINERS 50
#define LOG_NS (60 * CB_NS_PER_S)

struct container {
    uint32_t id;
    bool text_due;
    uint64_t ends_ns;
    uint32_t socket;
    double busy, ipc; /* CPUs in use, instructions a cycle */
    double watts;     /* of its package while it runs */
    char container_id[65];
    char name[48];
    char cgroup[80];
};

struct machine {
    const struct cb_synthetic_options *o;
    uint64_t random;
    uint32_t last_id;
    size_t n, n_sockets;
    struct container *containers;
    double idle_w[MAX_SOCKETS];
    double total_nj[MAX_SOCKETS][N_DOMAINS];
    double containers_nj;
    uint64_t containers_uj; /* of the frame at hand */
    int ledger_fd;
    uint64_t held_before; /* frames of earlier starts in the spool */
    uint64_t spooled;     /* of this start, on the disk or further */
    bool stop, dictionary;
    struct cb_frame frame;
    struct cb_frame_gap gap;
    struct cb_frame_energy energies[MAX_SOCKETS * N_DOMAINS];
    struct cb_frame_event events[N_EVENTS];
    const char *stat_names[1];
    char reason[128];
};

/* ---- what was asked for ---- */

static int take_word(const char *key, const char *value, struct cb_synthetic_spec *spec)
{
    uint64_t n = 0;

    if (strcmp(key, "ledger") == 0 && *value && strlen(value) < sizeof(spec->ledger)) {
        (void)snprintf(spec->ledger, sizeof(spec->ledger), "%s", value);
        return 0;
    }
    if (cb_parse_u64(value, &n) < 0)
        return -EINVAL;
    if (strcmp(key, "seed") == 0)
        spec->seed = n;
    else if (strcmp(key, "containers") == 0 && n > 0 && n <= CB_SYNTHETIC_MAX_CONTAINERS)
        spec->containers = (uint32_t)n;
    else
        return -EINVAL;
    return 0;
}

int cb_synthetic_parse(const char *text, struct cb_synthetic_spec *ret_spec, struct cb_err *err)
{
    struct cb_synthetic_spec spec = {.containers = DEFAULT_CONTAINERS};
    cb_auto_free char *copy = strdup(text);
    char *rest = copy;
    char *word;

    if (!copy)
        return cb_err_set(err, ENOMEM, "out of memory");
    while ((word = strsep(&rest, ","))) {
        char *value = strchr(word, '=');

        if (value)
            *value++ = '\0';
        if (!value || take_word(word, value, &spec) < 0)
            return cb_err_set(err, EINVAL,
                              "'%.60s' is not of the form seed=N,containers=N,ledger=FILE, with 1 "
                              "to %d containers",
                              text, CB_SYNTHETIC_MAX_CONTAINERS);
    }
    *ret_spec = spec;
    return 0;
}

void cb_synthetic_boot_id(const struct cb_synthetic_spec *spec, char ret_id[CB_BOOT_ID_SIZE])
{
    (void)snprintf(ret_id, CB_BOOT_ID_SIZE, "00000000-5eed-4000-8%03x-%012" PRIx64,
                   (unsigned)(spec->seed >> 48) & 0xfff, spec->seed & 0xffffffffffff);
}

/* ---- the machine ---- */

/* splitmix64 */
static uint64_t next_random(struct machine *m)
{
    uint64_t x = m->random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static double between(struct machine *m, double low, double high)
{
    return low + (high - low) * (double)(next_random(m) >> 11) * 0x1p-53;
}

static void be_born(struct machine *m, struct container *c, uint64_t now_ns)
{
    *c = (struct container){
        .id = ++m->last_id,
        .text_due = true,
        .ends_ns = now_ns + (uint64_t)(between(m, 5, 60) * 1e9),
        .socket = (uint32_t)(next_random(m) % m->n_sockets),
        .busy = between(m, 0.01, 0.3),
        .ipc = between(m, 0.3, 3),
        .watts = between(m, 0.1, 2),
    };
    for (size_t i = 0; i < 4; i++)
        (void)snprintf(c->container_id + 16 * i, 17, "%016" PRIx64, next_random(m));
    (void)snprintf(c->name, sizeof(c->name), CB_SYNTHETIC_PREFIX "-%u", c->id);
    (void)snprintf(c->cgroup, sizeof(c->cgroup), "/docker/%s", c->container_id);
}

static void draw_machine(struct machine *m)
{
    uint64_t now_ns = cb_clock_boot_ns();

    m->n_sockets = 1 + next_random(m) % MAX_SOCKETS;
    for (size_t s = 0; s < m->n_sockets; s++)
        m->idle_w[s] = between(m, 10, 60);
    /* The draws above are the machine's own; what its containers are differs in each start. */
    m->random ^= now_ns;
    for (size_t i = 0; i < m->n; i++)
        be_born(m, &m->containers[i], now_ns);
}

static void init_frame(struct machine *m)
{
    static const char *const names[N_EVENTS] = {"cycles", "instructions", "cpu-clock"};
    const struct cb_synthetic_options *o = m->o;

    (void)snprintf(m->reason, sizeof(m->reason),
                   "made-up containers and energy of a test (seed %" PRIu64
                   "): nothing here is measured",
                   o->spec->seed);
    m->gap = (struct cb_frame_gap){CB_SYNTHETIC_PREFIX, m->reason};
    m->stat_names[0] = "cpu_ns";
    for (size_t e = 0; e < N_EVENTS; e++)
        m->events[e] = (struct cb_frame_event){names[e], e < 2 ? "cpu" : "software", 0};
    m->frame = (struct cb_frame){
        .sensor = o->sensor,
        .boot_id = o->boot_id,
        .start_id = o->start_id,
        .version = CB_VERSION,
        .n_sockets = (uint32_t)m->n_sockets,
        .n_cpus = (uint32_t)(CPUS_PER_SOCKET * m->n_sockets),
        .n_energies = m->n_sockets * N_DOMAINS,
        .energies = m->energies,
        .has_machine_row = true,
        .n_events = N_EVENTS,
        .events = m->events,
        .n_groups = 1,
        .n_targets = m->n,
        .n_stats = 1,
        .stat_names = m->stat_names,
        .n_gaps = 1,
        .gaps = &m->gap,
    };
}

static int open_ledger(struct machine *m, struct cb_err *err)
{
    const char *path = m->o->spec->ledger;

    if (!*path)
        return 0;
    m->ledger_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (m->ledger_fd < 0)
        return cb_err_set(err, errno, "cannot write the ledger '%s': %s", path, strerror(errno));
    return 0;
}

static int open_machine(struct machine *m, struct cb_err *err)
{
    struct cb_outbox_stats stats;
    struct cb_frame *f = &m->frame;
    size_t rows;

    m->n = m->o->spec->containers;
    rows = 1 + m->n;
    m->random = m->o->spec->seed;
    m->containers = calloc(m->n, sizeof(*m->containers));
    if (!m->containers)
        return cb_err_set(err, ENOMEM, "out of memory");
    draw_machine(m);
    init_frame(m);
    f->targets = calloc(m->n, sizeof(*f->targets));
    f->counts = calloc(rows * m->n_sockets * N_EVENTS, sizeof(*f->counts));
    f->enabled_ns = calloc(rows * m->n_sockets, sizeof(*f->enabled_ns));
    f->stats = calloc(rows, sizeof(*f->stats));
    if (!f->targets || !f->counts || !f->enabled_ns || !f->stats)
        return cb_err_set(err, ENOMEM, "out of memory");
    f->running_ns = f->enabled_ns;
    cb_outbox_stats(m->o->outbox, &stats);
    m->held_before = stats.held_frames;
    return open_ledger(m, err);
}

static void close_machine(struct machine *m)
{
    free(m->containers);
    free(m->frame.targets);
    free(m->frame.counts);
    free(m->frame.enabled_ns);
    free(m->frame.stats);
    cb_close_at(&m->ledger_fd);
}

/* ---- one frame ---- */

static void count_row(struct machine *m, size_t row, size_t socket, double busy_ns, double ipc)
{
    struct cb_frame *f = &m->frame;
    uint64_t clock_ns = (uint64_t)busy_ns;
    const uint64_t values[N_EVENTS] = {(uint64_t)(busy_ns * 2.5), (uint64_t)(busy_ns * 2.5 * ipc),
                                       clock_ns};

    for (size_t e = 0; e < N_EVENTS; e++) {
        cb_frame_count(f, row, socket, e) += values[e];
        if (row > 0)
            cb_frame_count(f, (size_t)0, socket, e) += values[e];
    }
    f->stats[row] += clock_ns;
    if (row > 0)
        f->stats[0] += clock_ns;
}

static void fill_target(struct machine *m, size_t i)
{
    struct container *c = &m->containers[i];
    bool gone = c->ends_ns <= m->frame.t1_ns;
    bool text = c->text_due || m->frame.dictionary;

    m->frame.targets[i] = (struct cb_frame_target){
        .id = c->id,
        .kind = CB_TARGET_CONTAINER,
        .flags = (uint8_t)((text ? CB_TARGET_TEXT : 0) | (gone ? CB_TARGET_GONE : 0)),
        .cgroup = text ? c->cgroup : NULL,
        .container_id = text ? c->container_id : NULL,
        .name = text ? c->name : NULL,
        .image = text ? CB_SYNTHETIC_PREFIX : NULL,
    };
}

/* W x ns = nJ: the difference of the floored cumulative microjoules. */
static uint64_t add_energy(double *total_nj, double watts, double dt_ns)
{
    double before_uj = *total_nj / 1e3;

    *total_nj += watts * dt_ns;
    return (uint64_t)(*total_nj / 1e3) - (uint64_t)before_uj;
}

static void fill_energies(struct machine *m, const double watts[MAX_SOCKETS], double dt_ns)
{
    for (size_t i = 0; i < m->frame.n_energies; i++) {
        size_t socket = i / N_DOMAINS;
        bool package = i % N_DOMAINS == 0;
        double w = package ? m->idle_w[socket] + watts[socket] : 3 + watts[socket] / 8;
        uint64_t uj = add_energy(&m->total_nj[socket][i % N_DOMAINS], w, dt_ns);

        m->energies[i] = (struct cb_frame_energy){
            .socket = (uint16_t)socket,
            .domain = package ? CB_DOMAIN_PACKAGE : CB_DOMAIN_DRAM,
            .source = CB_SOURCE_ESTIMATE,
            .energy_uj = uj,
            .uncertainty_uj = uj,
        };
    }
}

static void fill_frame(struct machine *m, uint64_t t1_ns)
{
    struct cb_frame *f = &m->frame;
    size_t rows = m->n + 1;
    double watts[MAX_SOCKETS] = {0};
    double containers_w = 0;
    double dt_ns;

    f->seq++;
    f->t0_ns = f->t1_ns;
    f->t1_ns = t1_ns;
    f->wall_ns = cb_clock_wall_ns();
    f->dictionary = m->dictionary || f->seq == 1;
    dt_ns = (double)(f->t1_ns - f->t0_ns);
    memset(f->counts, 0, rows * m->n_sockets * N_EVENTS * sizeof(*f->counts));
    memset(f->stats, 0, rows * sizeof(*f->stats));
    for (size_t i = 0; i < rows * m->n_sockets; i++)
        f->enabled_ns[i] = f->t1_ns - f->t0_ns;
    for (size_t i = 0; i < m->n; i++) {
        struct container *c = &m->containers[i];
        double load = between(m, 0, 1);

        fill_target(m, i);
        count_row(m, 1 + i, c->socket, load * c->busy * dt_ns, c->ipc);
        watts[c->socket] += load * c->watts;
        containers_w += load * c->watts;
    }
    for (size_t s = 0; s < m->n_sockets; s++) { /* the rest of the system */
        count_row(m, 0, s, 0.05 * dt_ns, 1);
        watts[s] += 1;
    }
    fill_energies(m, watts, dt_ns);
    m->containers_uj = add_energy(&m->containers_nj, containers_w, dt_ns);
}

/* What is in memory only, for want of a disk, ends with the process: while there is some, the
 * number stands still. */
static void count_spooled(struct machine *m, const struct cb_outbox_stats *stats)
{
    uint64_t all =
        stats->held_frames + stats->acked_frames + stats->refused_frames + stats->lost_frames;

    if (stats->memory_frames == 0 && all > m->held_before)
        m->spooled = all - m->held_before;
}

static int write_ledger(struct machine *m, struct cb_err *err)
{
    const struct cb_frame *f = &m->frame;
    uint64_t total_uj = 0;
    char line[256];
    int n;

    if (m->ledger_fd < 0)
        return 0;
    for (size_t i = 0; i < f->n_energies; i++)
        total_uj += f->energies[i].energy_uj;
    n = snprintf(line, sizeof(line),
                 "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                 f->start_id, f->seq, f->t0_ns, f->t1_ns, m->spooled, total_uj, m->containers_uj);
    if (write(m->ledger_fd, line, (size_t)n) != n)
        return cb_err_set(err, errno, "cannot write the ledger: %s", strerror(errno));
    return 0;
}

/* The dead make room for others; texts that went out need not be told again. */
static void settle(struct machine *m, bool delivered)
{
    for (size_t i = 0; i < m->n; i++) {
        if (delivered)
            m->containers[i].text_due = false;
        if (m->containers[i].ends_ns <= m->frame.t1_ns)
            be_born(m, &m->containers[i], m->frame.t1_ns);
    }
    m->dictionary = !delivered;
}

static int take_frame(struct machine *m, struct cb_frame_encoder *encoder, struct cb_err *err)
{
    static struct cb_log_limit limit;
    struct cb_outbox_stats stats;
    struct cb_err why = {0};
    const uint8_t *bytes;
    size_t size;
    int r;

    m->dictionary = cb_outbox_take_dictionary_wanted(m->o->outbox) || m->dictionary;
    fill_frame(m, cb_clock_boot_ns());
    cb_outbox_stats(m->o->outbox, &stats);
    m->frame.lost_frames = stats.lost_frames;
    count_spooled(m, &stats);
    r = cb_frame_encode(encoder, &m->frame, &bytes, &size, err);
    if (r == 0)
        r = write_ledger(m, err);
    if (r < 0)
        return r;
    r = cb_outbox_push(m->o->outbox, m->frame.seq, bytes, size, &why);
    if (r < 0)
        cb_log_limited(&limit, LOG_NS, CB_LOG_ERR, "frame %" PRIu64 " is lost: %s", m->frame.seq,
                       why.text);
    settle(m, r == 0);
    if (m->frame.seq == 1 && m->o->ready)
        m->o->ready(m->o->context);
    if (m->o->frames && m->frame.seq >= m->o->frames)
        m->stop = true;
    return 0;
}

static int loop(struct machine *m, int timer_fd, struct cb_frame_encoder *encoder,
                struct cb_err *err)
{
    int r = 0;

    m->frame.t1_ns = cb_clock_boot_ns();
    while (r == 0 && !m->stop) {
        struct pollfd fds[] = {{.fd = timer_fd, .events = POLLIN},
                               {.fd = m->o->signal_fd, .events = POLLIN}};
        uint64_t expirations = 0;

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return cb_err_set(err, errno, "poll: %s", strerror(errno));
        m->stop = fds[1].revents != 0;
        if (read(timer_fd, &expirations, sizeof(expirations)) == (ssize_t)sizeof(expirations))
            m->frame.missed_ticks += expirations - 1;
        if (m->stop || expirations)
            r = take_frame(m, encoder, err);
    }
    return r;
}

static int start_timer(uint64_t tick_ns, struct cb_err *err)
{
    const struct timespec period = {.tv_sec = (time_t)(tick_ns / CB_NS_PER_S),
                                    .tv_nsec = (long)(tick_ns % CB_NS_PER_S)};
    const struct itimerspec spec = {.it_interval = period, .it_value = period};
    cb_auto_close int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd < 0 || timerfd_settime(fd, 0, &spec, NULL) < 0)
        return cb_err_set(err, errno, "cannot start the timer: %s", strerror(errno));
    return cb_take_fd(fd);
}

int cb_synthetic_run(const struct cb_synthetic_options *options, struct cb_err *err)
{
    struct machine machine = {.o = options, .ledger_fd = -1};
    struct cb_frame_encoder *encoder = cb_frame_encoder_new();
    cb_auto_close int timer_fd = start_timer(options->tick_ns, err);
    int r = timer_fd < 0 ? timer_fd : open_machine(&machine, err);

    if (r == 0 && !encoder)
        r = cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = loop(&machine, timer_fd, encoder, err);
    close_machine(&machine);
    encoder = cb_frame_encoder_free(encoder);
    return r;
}
