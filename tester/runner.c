/* SPDX-License-Identifier: Apache-2.0 */
/* runner.c - see runner.h. */
#include "tester/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "tester/formula_client.h"
#include "tester/interrupt.h"
#include "tester/logstream.h"
#include "tester/marks.h"
#include "tester/naming.h"
#include "tester/owner.h"
#include "tester/relay.h"
#include "tester/testlock.h"

#define LABEL_TEST "org.cbwatts.test"
#define LABEL_UID "org.cbwatts.uid"
#define LABEL_OWNER "org.cbwatts.owner"

#define LOCK_POLL_MS 200
#define DRAIN_NS (5 * CB_NS_PER_S) /* for output that is still on its way after the exit */
#define RETRY_NS (CB_NS_PER_S / 4) /* between two tries of a formula that is away */
#define RECAP_WAIT_S 2             /* that the formula waits in one request */
#define GIVE_UP_NS (2 * CB_NS_PER_S)
#define LEFTOVERS_MAX 32
#define STEP_NS (10 * CB_NS_PER_S)

struct run {
    const struct cb_runner_options *options;
    struct cb_docker_client *docker;
    struct cb_formula_client *formula;
    int root_fd, lock_fd;
    struct cb_owner self;
    char test_id[CB_FORMULA_CLIENT_TEST_SIZE]; /* "": the formula was not told, or knows the end */
    char container_name[CB_NAMING_CONTAINER_SIZE];
    char container_id[CB_DOCKER_CLIENT_ID_SIZE];
    bool created; /* there may be a container to remove */
    bool timed_out;
    struct cb_relay relay;
    struct cb_formula_client_end end;
};

__attribute__((format(printf, 3, 4))) static void
note(const struct run *run, enum cb_runner_note_kind kind, const char *fmt, ...)
{
    char text[CB_ERR_TEXT];
    va_list ap;

    va_start(ap, fmt);
    if (vsnprintf(text, sizeof(text), fmt, ap) >= 0)
        run->options->note(kind, text);
    va_end(ap);
}

/* The image is there, or is fetched when that was asked for. */
static int need_image(struct run *run, struct cb_err *err)
{
    const char *image = run->options->spec.image;
    int r = cb_docker_client_find_image(run->docker, image, err);

    if (r != -ENOENT)
        return r < 0 ? cb_err_prefix(err, r, "image %s", image) : 0;
    if (!run->options->pull)
        return cb_err_set(err, ENOENT, "no such image '%s': docker pull %s, or use --pull", image,
                          image);
    note(run, CB_RUNNER_PROGRESS, "pulling %s", image);
    r = cb_docker_client_pull(run->docker, image, err);
    return r < 0 ? cb_err_prefix(err, r, "cannot pull %s", image) : 0;
}

static int take_lock(struct run *run, struct cb_err *err)
{
    struct pollfd wake = {.fd = cb_interrupt_fd(), .events = POLLIN};
    bool said = false;
    char holder[400];
    int r;

    if (!run->options->lock_path)
        return 0;
    run->lock_fd = cb_testlock_open(run->options->lock_path, err);
    if (run->lock_fd < 0)
        return run->lock_fd;
    while ((r = cb_testlock_try(run->lock_fd, run->options->test_name, err)) == -EWOULDBLOCK) {
        if (!said) {
            cb_testlock_holder(run->lock_fd, holder, sizeof(holder));
            note(run, CB_RUNNER_NOTICE,
                 "waiting for %s, one test runs at a time (--no-lock lifts that)", holder);
            said = true;
        }
        if (poll(&wake, 1, LOCK_POLL_MS) != 0)
            return cb_err_set(err, EINTR, "interrupted");
    }
    return r;
}

/* Containers of this user whose tester is dead. They are collected first and removed then, as the
 * list must not be walked while requests go out. */
struct leftovers {
    const struct run *run;
    size_t n;
    char ids[LEFTOVERS_MAX][CB_DOCKER_CLIENT_ID_SIZE];
};

static void add_leftover(void *arg, const struct cb_docker_client_entry *entry)
{
    struct leftovers *leftovers = arg;
    struct cb_owner owner;

    if (leftovers->n < LEFTOVERS_MAX && strlen(entry->id) < CB_DOCKER_CLIENT_ID_SIZE &&
        cb_owner_parse(entry->owner, &owner) == 0 &&
        cb_owner_is_dead(leftovers->run->root_fd, &leftovers->run->self, &owner, entry->running))
        (void)snprintf(leftovers->ids[leftovers->n++], CB_DOCKER_CLIENT_ID_SIZE, "%s", entry->id);
}

static int remove_leftovers(struct run *run, const char *uid, struct cb_err *err)
{
    struct leftovers leftovers = {.run = run};
    int r = cb_docker_client_list(run->docker, LABEL_UID, uid, LABEL_OWNER, add_leftover,
                                  &leftovers, err);

    for (size_t i = 0; r == 0 && i < leftovers.n; i++) {
        r = cb_docker_client_remove(run->docker, leftovers.ids[i], err);
        if (r == 0)
            note(run, CB_RUNNER_NOTICE,
                 "removed the container %.12s, left behind by a test that was killed",
                 leftovers.ids[i]);
    }
    return r < 0 ? cb_err_prefix(err, r, "containers left behind by a test that was killed") : 0;
}

/* Everything that can be missing is looked for before anything starts. */
static int prepare(struct run *run, struct cb_err *err)
{
    const struct cb_runner_options *o = run->options;
    int wake_fd = cb_interrupt_fd();
    int r;

    run->root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run->root_fd < 0)
        return cb_err_set(err, errno, "cannot open '/': %s", strerror(errno));
    r = cb_owner_self(run->root_fd, &run->self, err);
    if (r == 0)
        r = cb_docker_client_open(o->docker_host, wake_fd, &run->docker, err);
    if (r == 0)
        r = cb_formula_client_open(o->formula_url, wake_fd, &run->formula, err);
    if (r == 0)
        r = need_image(run, err);
    if (r == 0)
        r = take_lock(run, err);
    return r;
}

static int register_test(struct run *run, struct cb_err *err)
{
    const struct cb_runner_options *o = run->options;
    const struct cb_formula_client_test test = {
        .name = o->test_name,
        .image = o->spec.image,
        .boot_id = run->self.boot_id,
        .n_args = o->spec.n_args,
        .args = o->spec.args,
    };
    int r = cb_formula_client_begin(run->formula, &test, run->test_id, err);

    if (r == -ENOENT)
        return cb_err_set(
            err, ENOENT,
            "no sensor of this machine reports to cbformula at %s: start cbsensor, or "
            "wait for its first frame",
            o->formula_url);
    return r < 0 ? cb_err_prefix(err, r, "cbformula does not take the test") : 0;
}

static int create(struct run *run, struct cb_err *err)
{
    struct cb_docker_client_spec spec = run->options->spec;
    char owner[CB_OWNER_TEXT];
    char uid[16];
    char warning[256];
    const struct cb_docker_client_label labels[] = {
        {LABEL_TEST, run->options->test_name}, {LABEL_UID, uid}, {LABEL_OWNER, owner}};
    int r;

    cb_owner_format(&run->self, owner);
    (void)snprintf(uid, sizeof(uid), "%u", (unsigned)getuid());
    r = remove_leftovers(run, uid, err);
    if (r == 0)
        r = cb_naming_container(run->options->test_name, run->container_name, err);
    if (r < 0)
        return r;
    spec.container_name = run->container_name;
    spec.labels = labels;
    spec.n_labels = sizeof(labels) / sizeof(labels[0]);
    run->created = true; /* also when the answer gets lost */
    r = cb_docker_client_create(run->docker, &spec, run->container_id, warning, err);
    if (r < 0)
        return cb_err_prefix(err, r, "Docker cannot create the container");
    if (warning[0])
        note(run, CB_RUNNER_NOTICE, "Docker says: %s", warning);
    return 0;
}

/* Start the container; *@ret_code is the exit code that a failure means. */
static int start(struct run *run, int *ret_code, struct cb_err *err)
{
    int r =
        cb_docker_client_attach(run->docker, run->container_id, cb_relay_feed, &run->relay, err);

    if (r < 0)
        return cb_err_prefix(err, r, "Docker does not give the container's output");
    run->end.begin_ns = cb_clock_boot_ns();
    r = cb_docker_client_start(run->docker, run->container_id, err);
    if (r < 0) {
        if (err->code != EINTR)
            *ret_code = cb_docker_client_start_code(err->text);
        return cb_err_prefix(err, r, "Docker cannot start the container");
    }
    note(run, CB_RUNNER_PROGRESS, "test %s runs in container %.12s", run->options->test_name,
         run->container_id);
    return cb_docker_client_wait(run->docker, run->container_id, err);
}

static int watch(struct run *run, struct cb_err *err)
{
    uint64_t timeout_ns = run->options->timeout_ns;
    struct cb_docker_client_state state = {0};
    int r = 0;

    while (r == 0 && !state.exited) {
        uint64_t ran_ns = cb_clock_boot_ns() - run->end.begin_ns;
        uint64_t wait_ns = STEP_NS;

        if (timeout_ns && !run->timed_out && ran_ns >= timeout_ns) {
            run->timed_out = true;
            r = cb_docker_client_kill(run->docker, run->container_id, err);
        } else if (timeout_ns && !run->timed_out && timeout_ns - ran_ns < wait_ns) {
            wait_ns = timeout_ns - ran_ns;
        }
        if (r == 0)
            r = cb_docker_client_step(run->docker, wait_ns, &state, err);
    }
    if (r < 0)
        return r;
    run->end.end_ns = cb_clock_boot_ns();
    run->end.exit_code = state.exit_code;
    while (r == 0 && !state.output_ended && cb_clock_boot_ns() - run->end.end_ns < DRAIN_NS)
        r = cb_docker_client_step(run->docker, DRAIN_NS, &state, err);
    return r;
}

/* Remove what create() may have made, also when a signal asks to hurry. */
static void drop_container(struct run *run)
{
    struct cb_err err = {0};

    if (!run->created)
        return;
    run->created = false;
    cb_docker_client_set_wake(run->docker, -1);
    if (cb_docker_client_remove(run->docker, run->container_name, &err) < 0)
        note(run, CB_RUNNER_NOTICE, "cannot remove the container (%.200s): docker rm -f %s",
             err.text, run->container_name);
}

/* Wait for the next try of a formula that is away; false when the time is up or a signal came. */
static bool may_retry(int r, uint64_t until_ns)
{
    struct pollfd wake = {.fd = cb_interrupt_fd(), .events = POLLIN};

    return (cb_formula_client_is_away(r) || r == -EINPROGRESS) && cb_clock_boot_ns() < until_ns &&
           poll(&wake, 1, (int)(RETRY_NS / 1000000)) == 0;
}

static int tell_end(struct run *run, uint64_t until_ns, struct cb_err *err)
{
    struct cb_marks_phases phases =
        cb_marks_phases(&run->relay.marks, run->end.begin_ns, run->end.end_ns);
    int r;

    if (phases.note)
        note(run, CB_RUNNER_NOTICE, "%s", phases.note);
    run->end.container_id = run->container_id;
    run->end.has_warmup = phases.has_warmup;
    run->end.has_execution = phases.has_execution;
    run->end.warmup_ns = phases.warmup_ns;
    run->end.execution_ns = phases.execution_ns;
    do {
        r = cb_formula_client_end(run->formula, run->test_id, &run->end, err);
    } while (r < 0 && may_retry(r, until_ns));
    return r;
}

static int fetch_recap(struct run *run, uint64_t until_ns, char **ret_recap, struct cb_err *err)
{
    uint64_t asked_ns;
    uint64_t missing_ns = 0;
    bool said = false;
    int r;

    do {
        asked_ns = cb_clock_boot_ns();

        uint64_t left_s = until_ns > asked_ns ? (until_ns - asked_ns) / CB_NS_PER_S : 0;

        r = cb_formula_client_recap(run->formula, run->test_id, run->options->idle,
                                    left_s < RECAP_WAIT_S ? (unsigned)left_s : RECAP_WAIT_S,
                                    ret_recap, &missing_ns, err);
        if (r == -EINPROGRESS && !said) {
            note(run, CB_RUNNER_PROGRESS,
                 "waiting for the frame that covers the end, %.1f s missing",
                 (double)missing_ns / 1e9);
            said = true;
        }
    } while (r < 0 && may_retry(r, until_ns));
    return r;
}

/* The container has run and is gone; whatever fails from here on, its exit code is told. */
static int finish(struct run *run, char **ret_recap, struct cb_err *err)
{
    uint64_t until_ns = cb_clock_boot_ns() + run->options->recap_timeout_ns;
    int r;

    cb_formula_client_set_deadline(run->formula, until_ns);
    r = tell_end(run, until_ns, err);
    if (r < 0)
        return cb_err_prefix(err, r,
                             "the container ran and ended with exit code %d, but cbformula was not "
                             "told and there is no recap",
                             run->end.exit_code);

    char id[CB_FORMULA_CLIENT_TEST_SIZE];

    memcpy(id, run->test_id, sizeof(id));
    r = fetch_recap(run, until_ns, ret_recap, err);
    run->test_id[0] = '\0'; /* it has ended, nothing to give up */
    if (r < 0)
        return cb_err_prefix(err, r,
                             "the container ran and ended with exit code %d, but the recap is not "
                             "there; get it later "
                             "with curl -s '%s/api/v1/tests/%s/recap?idle=%s' | cbtester show -",
                             run->end.exit_code, run->options->formula_url, id, run->options->idle);
    return 0;
}

static int run_all(struct run *run, char **ret_recap, struct cb_err *err)
{
    int code = CB_RUNNER_FAILED;
    int r = prepare(run, err);

    if (r == 0)
        r = register_test(run, err);
    if (r == 0)
        r = create(run, err);
    if (r == 0)
        r = start(run, &code, err);
    if (r == 0)
        r = watch(run, err);
    if (r < 0)
        return code;
    drop_container(run);
    if (finish(run, ret_recap, err) < 0)
        return CB_RUNNER_FAILED;
    return run->timed_out ? CB_RUNNER_TIMEOUT : run->end.exit_code;
}

/* What is still there after a failure; also what the formula knows of a test that did not happen.
 */
static void clean_up(struct run *run)
{
    struct cb_err err = {0};

    drop_container(run);
    if (run->test_id[0]) {
        cb_formula_client_set_wake(run->formula, -1);
        cb_formula_client_set_deadline(run->formula, cb_clock_boot_ns() + GIVE_UP_NS);
        if (cb_formula_client_give_up(run->formula, run->test_id, &err) < 0)
            note(run, CB_RUNNER_PROGRESS, "cbformula keeps the test open: %s", err.text);
    }
    run->docker = cb_docker_client_close(run->docker);
    run->formula = cb_formula_client_close(run->formula);
    if (run->lock_fd >= 0)
        (void)close(run->lock_fd);
    if (run->root_fd >= 0)
        (void)close(run->root_fd);
}

int cb_runner_run(const struct cb_runner_options *options, char **ret_recap, struct cb_err *err)
{
    struct run run = {.options = options, .root_fd = -1, .lock_fd = -1};
    struct cb_err why = {0};
    int code;

    *ret_recap = NULL;
    cb_relay_init(&run.relay, options->spec.tty, options->output_fd);
    code = run_all(&run, ret_recap, &why);
    clean_up(&run);
    if (*ret_recap)
        return code;
    if (cb_interrupt_signal() != 0) {
        (void)cb_err_set(err, EINTR, "interrupted by signal %d, there is no recap",
                         cb_interrupt_signal());
        return CB_RUNNER_SIGNAL + cb_interrupt_signal();
    }
    (void)cb_err_set(err, why.code, "%s", why.text);
    return code;
}
