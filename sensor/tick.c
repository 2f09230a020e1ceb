/* SPDX-License-Identifier: Apache-2.0 */
/* tick.c - see tick.h. */
#include "sensor/tick.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/dump.h"
#include "sensor/urgency.h"

#define EARLY_NS (CB_NS_PER_S / 20)
#define RESCAN_NS (10 * CB_NS_PER_S)
#define RESCAN_SOON_NS CB_NS_PER_S /* something was not watched or not read */
#define LOG_NS (60 * CB_NS_PER_S)
#define LOOK_NS (CB_NS_PER_S / 10) /* for CPUs that came or went, at most so often */
#define LOOK_AT_LEAST_NS CB_NS_PER_S
#define WORK_NS 1000000

struct loop {
    const struct cb_tick_options *o;
    struct cb_frame_encoder *encoder;
    int timer_fd;
    uint64_t missed_ticks;
    uint64_t frames;
    uint64_t next_rescan_ns;
    uint64_t looked_ns;
    bool work;  /* something is left to do between the ticks */
    bool due;   /* the timer says so */
    bool early; /* a container came or went */
    bool stop;
    struct cb_log_limit encode_limit, push_limit, missed_limit, unread_limit;
};

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

static void take_timer(struct loop *l)
{
    uint64_t expirations = 0;

    if (read(l->timer_fd, &expirations, sizeof(expirations)) != (ssize_t)sizeof(expirations))
        return;
    l->due = true;
    cb_urgency_look();
    if (expirations > 1) {
        l->missed_ticks += expirations - 1;
        cb_log_limited(&l->missed_limit, LOG_NS, CB_LOG_WARN,
                       "%llu ticks missed so far: the machine or the disk is too slow for this "
                       "--tick; the intervals are wider, no energy is lost",
                       (unsigned long long)l->missed_ticks);
    }
}

static void take_answers(struct loop *l)
{
    struct cb_docker_answer answer;

    while (cb_docker_take(l->o->docker, &answer))
        cb_sampler_text(l->o->sampler, &answer);
}

static void say_unread(struct loop *l, size_t n)
{
    cb_log_limited(
        &l->unread_limit, LOG_NS, CB_LOG_WARN,
        "%zu directories of cgroups could not be read for lack of descriptors or memory: "
        "containers that come are found later; trying again every second",
        n);
}

/* The next one is @now_ns plus its period, or earlier where one is due earlier by now. */
static void plan_rescan(struct loop *l, uint64_t now_ns)
{
    size_t unread = cb_cgroup_watch_unread(l->o->watch);
    bool soon = unread > 0 || cb_cgroup_watch_unwatched(l->o->watch) > 0;
    uint64_t at_ns = now_ns + (soon ? RESCAN_SOON_NS : RESCAN_NS);

    if (unread > 0)
        say_unread(l, unread);
    if (at_ns < l->next_rescan_ns)
        l->next_rescan_ns = at_ns;
}

static void rescan(struct loop *l, uint64_t now_ns)
{
    if (cb_cgroup_watch_rescan(l->o->watch))
        l->early = true;
    cb_sampler_ask_again(l->o->sampler);
    l->next_rescan_ns = UINT64_MAX;
    plan_rescan(l, now_ns);
}

static void take_cgroups(struct loop *l)
{
    if (cb_cgroup_watch_process(l->o->watch))
        l->early = true;
    plan_rescan(l, cb_clock_boot_ns());
}

/* Hand the frame over; false when it is lost. */
static bool push(struct loop *l, const struct cb_frame *frame)
{
    struct cb_err err = {0};
    const uint8_t *bytes;
    size_t size;

    if (cb_frame_encode(l->encoder, frame, &bytes, &size, &err) < 0) {
        cb_log_limited(&l->encode_limit, LOG_NS, CB_LOG_ERR, "frame %llu is lost: %s",
                       (unsigned long long)frame->seq, err.text);
        return false;
    }
    if (l->o->outbox && cb_outbox_push(l->o->outbox, frame->seq, bytes, size, &err) < 0) {
        cb_log_limited(&l->push_limit, LOG_NS, CB_LOG_ERR, "frame %llu is lost: %s",
                       (unsigned long long)frame->seq, err.text);
        return false;
    }
    return true;
}

static int take_frame(struct loop *l, struct cb_err *err)
{
    bool dictionary = l->o->outbox && cb_outbox_take_dictionary_wanted(l->o->outbox);
    struct cb_frame *frame;
    bool delivered;
    int r = 0;

    if (cb_sampler_read(l->o->sampler, dictionary, &frame, NULL) < 0)
        return 0;
    frame->missed_ticks = l->missed_ticks;
    frame->lost_frames = 0;
    if (l->o->outbox) {
        struct cb_outbox_stats stats;

        cb_outbox_stats(l->o->outbox, &stats);
        frame->lost_frames = stats.lost_frames;
    }
    delivered = push(l, frame);
    if (delivered && l->o->dump)
        r = cb_dump_frame(l->o->dump, frame, err);
    cb_sampler_done(l->o->sampler, delivered);
    l->work = cb_sampler_work(l->o->sampler, 0);
    l->due = l->early = false;
    l->frames += delivered;
    if (delivered && l->frames == 1 && l->o->ready)
        l->o->ready(l->o->context);
    if (l->o->frames && l->frames >= l->o->frames)
        l->stop = true;
    return r;
}

static int poll_timeout_ms(const struct loop *l, uint64_t now_ns)
{
    uint64_t until_ns = l->next_rescan_ns;
    uint64_t early_ns = cb_sampler_t0_ns(l->o->sampler) + EARLY_NS;

    if (l->work)
        return 0;
    if (l->looked_ns + LOOK_AT_LEAST_NS < until_ns)
        until_ns = l->looked_ns + LOOK_AT_LEAST_NS;
    if (l->early && early_ns < until_ns)
        until_ns = early_ns;
    return until_ns <= now_ns ? 0 : (int)((until_ns - now_ns + 999999) / 1000000);
}

static int wait_for_something(struct loop *l, struct cb_err *err)
{
    struct pollfd fds[] = {
        {.fd = l->timer_fd, .events = POLLIN},
        {.fd = cb_cgroup_watch_fd(l->o->watch), .events = POLLIN},
        {.fd = l->o->signal_fd, .events = POLLIN},
        {.fd = l->o->docker ? cb_docker_fd(l->o->docker) : -1, .events = POLLIN},
    };
    int timeout_ms = poll_timeout_ms(l, cb_clock_boot_ns());

    if (poll(fds, sizeof(fds) / sizeof(fds[0]), timeout_ms) < 0)
        return errno == EINTR ? 0 : cb_err_set(err, errno, "poll: %s", strerror(errno));
    if (fds[1].revents)
        take_cgroups(l);
    if (fds[0].revents)
        take_timer(l);
    if (fds[2].revents)
        l->stop = true;
    if (fds[3].revents)
        take_answers(l);
    return 0;
}

static void look(struct loop *l, uint64_t now_ns)
{
    if (now_ns < l->looked_ns + LOOK_NS)
        return;
    l->looked_ns = now_ns;
    if (cb_sampler_look(l->o->sampler))
        l->early = true;
}

/* A small part of a tick: the next one must not wait for it. */
static void work(struct loop *l)
{
    uint64_t for_ns = l->o->tick_ns / 8;

    l->work = cb_sampler_work(l->o->sampler, for_ns < WORK_NS ? for_ns : WORK_NS);
}

static int run(struct loop *l, struct cb_err *err)
{
    int r = 0;

    l->next_rescan_ns = UINT64_MAX;
    plan_rescan(l, cb_clock_boot_ns());
    while (r == 0 && !l->stop) {
        uint64_t now_ns;

        r = wait_for_something(l, err);
        if (r < 0)
            break;
        now_ns = cb_clock_boot_ns();
        if (now_ns >= l->next_rescan_ns)
            rescan(l, now_ns);
        look(l, now_ns);
        if (l->due || l->stop || (l->early && now_ns >= cb_sampler_t0_ns(l->o->sampler) + EARLY_NS))
            r = take_frame(l, err);
        else
            work(l);
    }
    return r;
}

int cb_tick_run(const struct cb_tick_options *options, struct cb_err *err)
{
    struct loop loop = {.o = options, .timer_fd = -1};
    int r;

    loop.encoder = cb_frame_encoder_new();
    if (!loop.encoder)
        return cb_err_set(err, ENOMEM, "out of memory");
    loop.timer_fd = start_timer(options->tick_ns, err);
    if (loop.timer_fd < 0) {
        r = loop.timer_fd;
    } else {
        cb_sampler_start(options->sampler);
        r = run(&loop, err);
        (void)close(loop.timer_fd);
    }
    loop.encoder = cb_frame_encoder_free(loop.encoder);
    return r;
}
